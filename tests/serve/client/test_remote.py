"""The engine `remote` with servers that reject, hang, answer garbage, die and restart."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from time import monotonic

import numpy as np
import pytest

import tamis
from tamis._base import InputMismatchError, ModelError, UsageError
from tamis.bundle import Bundle, locate
from tamis.engines import Remote
from tamis.serve.client.servers import RemoteServer


class FaultyServer:
    """A server that accepts connections and misbehaves: `act` gets each of them."""

    def __init__(self, act) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.connections = []
        self.act = act
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            self.act(connection)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()
        for connection in self.connections:
            connection.close()


@pytest.fixture
def faulty_server():
    """Start faulty servers that stop with the test."""
    servers = []

    def start(act):
        servers.append(FaultyServer(act))
        return servers[-1]

    yield start
    for one in servers:
        one.close()


@pytest.fixture(scope="module")
def bundle():
    return Bundle.open("conv-vae")


@pytest.fixture
def jets(bundle):
    return bundle.golden.inputs["jets"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_outputs_equal_those_of_the_engine_on_the_server(start_server, bundle, jets):
    server = start_server(locate("conv-vae"))
    with (
        tamis.open(bundle, "onnxruntime") as local,
        tamis.open(
            bundle, "remote", remote=Remote((f"grpc://{server.address}",), timeout_s=20)
        ) as remote_session,
    ):
        assert remote_session.verified
        for size in (1, 2, 7, len(jets)):
            for name, value in local.run(jets[:size]).items():
                np.testing.assert_array_equal(remote_session.run(jets[:size])[name], value)
        assert remote_session(jets[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("fallback", "message"),
    [
        ("openvno", "no engine is called 'openvno'; did you mean 'openvino'"),
        ("remote", "the fallback remote computes nothing on this machine"),
        ("null", "the fallback null computes nothing on this machine; name an engine that does"),
    ],
)
def test_fallback_that_cannot_answer_is_refused(bundle, fallback, message):
    with pytest.raises(UsageError, match=message):
        tamis.open(bundle, "remote", remote=Remote(("grpc://127.0.0.1:9",), fallback=fallback))


def test_error_without_reachable_servers(bundle):
    with pytest.raises(UsageError, match=r"the engine remote needs servers"):
        tamis.open(bundle, "remote")
    with pytest.raises(
        ModelError, match=r"no server answered for conv-vae: 127.0.0.1:\d+: .* cannot be reached"
    ):
        tamis.open(bundle, "remote", remote=Remote((f"127.0.0.1:{free_port()}",)))


def test_unknown_model_is_reported_with_the_message_of_the_server(start_server, bundle):
    server = start_server()
    with pytest.raises(ModelError, match="Request for unknown model: 'conv-vae'"):
        tamis.open(bundle, "remote", remote=Remote((server.address,)))


@pytest.mark.parametrize(
    "act",
    [
        lambda connection: None,  # never answers
        lambda connection: connection.close(),
        lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        lambda connection: connection.sendall(bytes(range(256)) * 100),
        lambda connection: connection.sendall(
            b"\0\0\0\4\0\0\0\0\0" + b"\0\0\5\1\4\0\0\0\1\x88\xff\xff\xff\xff"
        ),
    ],
    ids=["silent", "closes", "HTTP/1", "garbage", "wrong headers"],
)
def test_unreachable_server_costs_time_but_no_event(faulty_server, start_server, bundle, jets, act):
    bad = faulty_server(act)
    remote = Remote((bad.address,), fallback="onnxruntime", timeout_s=0.05)
    with (
        tamis.open(bundle, "onnxruntime") as local,
        tamis.open(bundle, "remote", remote=remote) as remote_session,
    ):
        np.testing.assert_array_equal(remote_session(jets), local(jets))
        assert set(remote_session._runner.answered_by) == {"fallback"}
    good = start_server(locate("conv-vae"))
    remote = Remote((bad.address, good.address), timeout_s=1.0)
    with tamis.open(bundle, "remote", remote=remote) as remote_session:
        assert remote_session(jets).shape == (len(jets),)
        assert set(remote_session._runner.answered_by) == {good.address}


def test_restarted_server_is_used_again(start_server, bundle, jets):
    server = start_server(locate("conv-vae"))
    remote = Remote((server.address,), fallback="onnxruntime", timeout_s=20)
    with (
        tamis.open(bundle, "onnxruntime") as local,
        tamis.open(bundle, "remote", remote=remote) as remote_session,
    ):
        some_jets = jets[:8]
        expected = local(some_jets)
        answered = remote_session._runner.answered_by
        np.testing.assert_array_equal(remote_session(some_jets), expected)
        before = dict(answered)
        server.close()
        for _ in range(5):
            np.testing.assert_array_equal(remote_session(some_jets), expected)
        assert answered["fallback"] == 5
        assert answered[server.address] == before[server.address]
        start_server(locate("conv-vae"), port=server.port)
        remote_session._runner._servers.all[0].rests_until = 0.0
        np.testing.assert_array_equal(remote_session(some_jets), expected)
        assert answered[server.address] == before[server.address] + 1


def test_server_with_another_model_of_the_same_name_is_not_used(start_server, bundle, jets):
    server = start_server(locate("conv-vae"))
    session = server.service.find("conv-vae").model
    right = session.instances[0]
    session.instances[0] = lambda arrays: [output * 1.1 for output in right(arrays)]
    remote = Remote((server.address,), fallback="onnxruntime")
    with (
        tamis.open(bundle, "onnxruntime") as local,
        tamis.open(bundle, "remote", remote=remote) as remote_session,
    ):
        np.testing.assert_array_equal(remote_session(jets), local(jets))
        assert set(remote_session._runner.answered_by) == {"fallback"}
        assert "does not reproduce the golden output" in remote_session._runner._servers.all[0].last_error
    with pytest.raises(ModelError, match="does not reproduce the golden output"):
        tamis.open(bundle, "remote", remote=Remote((server.address,)))


def test_threads_share_a_session(start_server, bundle, jets):
    server = start_server(locate("conv-vae"))
    scores: dict[int, np.ndarray] = {}
    with (
        tamis.open(bundle, "onnxruntime") as local,
        tamis.open(bundle, "remote", remote=Remote((server.address,), timeout_s=20)) as remote_session,
    ):

        def work(number):
            for _ in range(10):
                scores[number] = remote_session(jets[number : number + 3])

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(scores) == set(range(6))  # an exception in a thread does not reach pytest
        for number, own in scores.items():
            np.testing.assert_allclose(own, local(jets[number : number + 3]), rtol=1e-5)


def test_rest_after_many_failures_is_a_few_seconds():
    server = RemoteServer("127.0.0.1:1")
    for _ in range(20_000):
        server.failed("gone")
    assert server.rests
    assert server.rests_until < monotonic() + 6


def test_concurrent_calls_each_get_their_own_answer(start_server):
    server = start_server(locate("conv-vae"))
    jets = np.random.default_rng(3).gamma(1.0, 5.0, (60, 2, 100, 3)).astype(np.float32)
    remote = Remote((server.address,), timeout_s=20, in_flight=8)
    with tamis.open("conv-vae") as local, tamis.open("conv-vae", "remote", remote=remote) as remote_session:
        expected = [local.run(one)["score"] for one in jets]
        in_flight = [remote_session.submit(one) for one in jets]
        for one, call in zip(expected, in_flight, strict=True):
            np.testing.assert_allclose(call.result(30)["score"], one, rtol=1e-5)

        async def together():
            return await asyncio.gather(*[remote_session.run_async(one) for one in jets[:20]])

        for one, found in zip(expected, asyncio.run(together()), strict=False):
            np.testing.assert_allclose(found["score"], one, rtol=1e-5)
        with pytest.raises(InputMismatchError):
            remote_session.submit(jets[0][:, :, :2]).result(10)
    with pytest.raises(UsageError, match="is closed"):
        remote_session.submit(jets[0])


def test_calls_in_flight_use_the_fallback_when_the_server_dies(start):
    server = start("conv-vae")
    jets = np.random.default_rng(3).gamma(1.0, 5.0, (40, 2, 100, 3)).astype(np.float32)
    remote = Remote((server.grpc,), fallback="onnxruntime", timeout_s=2)
    with tamis.open("conv-vae") as local, tamis.open("conv-vae", "remote", remote=remote) as remote_session:
        in_flight = [remote_session.submit(one) for one in jets]
        server.end(signal.SIGKILL)
        for one, call in zip(jets, in_flight, strict=True):
            np.testing.assert_allclose(call.result(60)["score"], local.run(one)["score"], rtol=1e-5)
