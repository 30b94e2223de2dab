"""The client and the server of local shared memory: answers, errors, and the end of either side."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import signal
import socket
import stat
import threading

import numpy as np
import pytest

import tamis
from tamis._base import UsageError
from tamis.bundle import Bundle
from tamis.engines import Remote
from tamis.measure.traffic import LoadTarget
from tamis.records import Scenario, Traffic
from tamis.serve.client.channel import CallError
from tamis.serve.client.inference import Codec
from tamis.serve.client.local import LocalChannel
from tamis.serve.protocol.local import ASK, ASKS, HELLO, REFUSES, WELCOME

SECOND = 1_000_000_000


@pytest.fixture
def place(tmp_path):
    return tmp_path / "door.sock"


@pytest.fixture
def served(start, place):
    return start("conv-vae", "topology-gru", "--local", place)


def codec_of(name):
    return Codec.of(name, "", Bundle.open(name).manifest.signature)


def connect_by_hand(path, size, *, seal=True):
    """Connect without our client; return the connection and the server's first packet."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(10)
    connection.connect(str(path))
    descriptor = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    if seal:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    connection.sendmsg([HELLO], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))])
    os.close(descriptor)
    return connection, connection.recv(1000)


@pytest.mark.usefixtures("served")
def test_answers_equal_those_of_the_local_engine_even_if_the_region_grows(place):
    jets = Bundle.open("conv-vae").golden.inputs["jets"]
    with (
        tamis.open("conv-vae") as local,
        tamis.open("conv-vae", "remote", remote=Remote((f"local:{place}",), timeout_s=20)) as remote,
    ):
        for rows in (1, 7, 1, 64, 3000, 2):  # 3000 jets are 3.6 MB, the first region has 1 MB
            batch = np.resize(jets, (rows, *jets.shape[1:]))
            np.testing.assert_allclose(remote.run(batch)["score"], local.run(batch)["score"], rtol=1e-5)


@pytest.mark.usefixtures("served")
def test_several_models_over_one_channel(place):
    channel = LocalChannel(f"local:{place}")
    for _ in range(2):
        for name in ("conv-vae", "topology-gru"):
            golden, signature = Bundle.open(name).golden, Bundle.open(name).manifest.signature
            arrays = [np.ascontiguousarray(golden.inputs[one.name]) for one in signature.inputs]
            found = channel.infer(codec_of(name), arrays, 20 * SECOND)
            for one, answer in zip(signature.outputs, found, strict=True):
                np.testing.assert_allclose(answer, golden.outputs[one.name], rtol=1e-3, atol=1e-4)
    channel.close()


@pytest.mark.usefixtures("served")
def test_channel_is_usable_after_an_error(place):
    channel, codec = LocalChannel(f"local:{place}"), codec_of("conv-vae")
    good = Bundle.open("conv-vae").golden.inputs["jets"]
    with pytest.raises(CallError, match=r"has the shape \[-1, 100, 3\]"):
        channel.infer(codec, [good[:, :, :2]], SECOND)
    with pytest.raises(CallError, match="did you mean 'conv-vae'"):
        channel.infer(
            Codec("conv-vea", "", [("jets", "FP32")], [("score", np.dtype("f4"), 1)], has_rows=True),
            [good],
            SECOND,
        )
    assert len(channel.infer(codec, [good], SECOND)[0]) == len(good)
    channel.close()


@pytest.mark.usefixtures("served")
def test_answer_is_not_overwritten_by_the_next_one(place):
    channel, codec = LocalChannel(f"local:{place}"), codec_of("conv-vae")
    jets = Bundle.open("conv-vae").golden.inputs["jets"]
    first = channel.infer(codec, [jets[:2]], SECOND)[0]
    copy = first.copy()
    channel.infer(codec, [jets[2:4]], SECOND)
    np.testing.assert_array_equal(first, copy)
    channel.close()


def test_socket_is_private_to_the_owner_and_removed_with_the_server(served, place):
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert served.end() == 0
    assert not place.exists()


def test_server_replaces_the_socket_of_a_killed_server_but_not_of_a_running_one(start, place):
    first = start("topology-gru", "--local", place)
    second = start("topology-gru", "--local", place)
    assert any("cannot listen at" in line for line in second.output)
    first.end(signal.SIGKILL)
    assert place.exists()
    start("topology-gru", "--local", place)
    LocalChannel(f"local:{place}").close()


def test_reloaded_model_answers_over_the_same_channel(served, place):
    import tritonclient.grpc as triton

    channel, codec = LocalChannel(f"local:{place}"), codec_of("conv-vae")
    jets = Bundle.open("conv-vae").golden.inputs["jets"]
    before = channel.infer(codec, [jets], SECOND)[0]
    with triton.InferenceServerClient(served.grpc) as client:
        client.unload_model("conv-vae")
        with pytest.raises(CallError, match="Request for unknown model: 'conv-vae'"):
            channel.infer(codec, [jets], SECOND)
        client.load_model("conv-vae")
    np.testing.assert_array_equal(channel.infer(codec, [jets], SECOND)[0], before)
    channel.close()


def test_server_that_dies_costs_no_event(served, place):
    jets = Bundle.open("conv-vae").golden.inputs["jets"]
    remote = Remote((f"local:{place}",), fallback="onnxruntime", timeout_s=5)
    with tamis.open("conv-vae", "remote", remote=remote) as session:
        before = session.run(jets)["score"]
        served.end(signal.SIGKILL)
        np.testing.assert_allclose(session.run(jets)["score"], before, rtol=1e-5)


@pytest.mark.parametrize(
    ("send", "message"),
    [
        (lambda connection: connection.send(ASK.pack(ASKS, 7, 0)), b"no request header has the number 7"),
        (lambda connection: connection.send(ASK.pack(ASKS, 0, 0) + b"nonsense"), b"not a ModelInferRequest"),
        (lambda connection: connection.send(b"?"), None),
        (lambda connection: connection.send(ASKS), None),
    ],
)
@pytest.mark.usefixtures("served")
def test_invalid_packet_is_rejected_or_closes_only_its_own_connection(place, send, message):
    connection, welcome = connect_by_hand(place, 4096)
    assert welcome == WELCOME
    send(connection)
    answer = connection.recv(1000)
    assert (answer[:1] == REFUSES and message in answer) if message else not answer
    connection.close()
    channel = LocalChannel(f"local:{place}")
    assert channel.infer(codec_of("conv-vae"), [np.zeros((1, 100, 3), np.float32)], SECOND)
    channel.close()


@pytest.mark.usefixtures("served")
def test_region_that_can_shrink_or_is_too_large_is_rejected(place):
    for size, seal, message in (
        (4096, False, b"cannot shrink"),
        (1 << 34, True, b"memory for requests is full"),
    ):
        connection, answer = connect_by_hand(place, size, seal=seal)
        assert message in answer
        connection.close()


@pytest.mark.usefixtures("served")
def test_request_larger_than_its_region_is_rejected(place):
    connection, _ = connect_by_hand(place, 100)
    connection.send(ASK.pack(ASKS, 0, 0) + codec_of("conv-vae").head(((1, 100, 3),)))
    assert b"needs 1200 bytes, but the region has only 100" in connection.recv(1000)
    connection.close()


def test_load_measures_a_local_address(served, place):
    target = LoadTarget(served.grpc, "conv-vae", local=f"local:{place}")
    traffic = Traffic(scenario=Scenario.SINGLE_STREAM, streams=1, seconds=0.3, warm_up_s=0.1)
    point = target.load(traffic)
    assert point.requests > 10
    assert point.server is not None
    assert abs(point.server.requests - point.requests) < point.requests
    with pytest.raises(UsageError, match="one request at a time"):
        target.load(Traffic(scenario=Scenario.CLOSED, streams=4, seconds=0.3))
    target.close()


def test_busy_client_does_not_starve_others(start, place):
    """The server polls for its next request, but still serves other clients and its own shutdown."""
    served = start("facile", "--local", place)
    inputs = [np.ones((1, 15), np.float32)]
    ended = threading.Event()

    def hammer():
        channel = LocalChannel(f"local:{place}")
        with contextlib.suppress(CallError):
            while not ended.is_set():
                channel.infer(codec_of("facile"), inputs, SECOND)

    thread = threading.Thread(target=hammer)
    thread.start()
    try:
        remote = Remote((f"grpc://{served.grpc}", f"local:{place}"), timeout_s=10)
        with tamis.open("facile", "remote", remote=remote) as session:
            for _ in range(40):
                assert np.isfinite(session(*inputs)).all()
        assert served.end() == 0
    finally:
        ended.set()
        thread.join(20)
    assert not thread.is_alive()
