"""Stateful sessions on a server that refuses, dies, hangs, or computes something else: no step is ever taken twice."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import replace

import numpy as np
import pytest
from onnx import numpy_helper

import tamis
from tamis._base import InputMismatchError, ModelError, UsageError, VerificationError
from tamis.bundle import Bundle, pack
from tamis.bundle.model import parse_model
from tamis.engines import Remote, StatefulSession
from tamis.serve.client import RemoteStatefulSession
from tamis.serve.client.stateful import STEPS_IN_FLIGHT


class CuttingProxy:
    """Forwards connections to a server; while `cuts` is set, what the server answers is thrown away, and the connection with it."""

    def __init__(self, address):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.target = address.rsplit(":", 1)
        self.cuts = threading.Event()
        self.sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection((self.target[0], int(self.target[1])))
            self.sockets += [client, server]
            for source, sink, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._copy, args=(source, sink, answers), daemon=True).start()

    def _copy(self, source, sink, answers):
        try:
            while data := source.recv(1 << 16):
                if answers and self.cuts.is_set():
                    break
                sink.sendall(data)
        except OSError:
            pass
        for one in (source, sink):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def disconnect(self):
        for one in self.sockets:
            with contextlib.suppress(OSError):  # the other end was faster
                one.shutdown(socket.SHUT_RDWR)

    def close(self):
        with contextlib.suppress(OSError):  # closed before
            self.listener.shutdown(socket.SHUT_RDWR)
        self.disconnect()
        for one in (self.listener, *self.sockets):
            one.close()


@pytest.fixture
def server(start_server, recurrent):
    return start_server(recurrent.path)


@pytest.fixture
def proxy(server):
    one = CuttingProxy(server.address)
    yield one
    one.close()


def steps(count, seed=2):
    return np.random.default_rng(seed).normal(size=(count, 2)).astype(np.float32)


def expected(bundle, x):
    with tamis.open(bundle, "onnxruntime") as session:
        return StatefulSession(session).steps("a", x=x)["trend"]


def connect(bundle, address, **options):
    return RemoteStatefulSession(bundle, Remote((address,), **{"timeout_s": 20, **options}))


@pytest.fixture
def computed(server):
    """The inputs x of every step that the server computed."""
    steps, instances = [], server.service.models["recurrent"]["1"].model.instances
    run = instances[0]

    def note(arrays):
        steps.append(np.array(arrays[0]))
        return run(arrays)

    instances[0] = note
    return steps


def test_a_step_whose_answer_is_lost_is_not_sent_again(computed, proxy, recurrent):
    x = steps(6)
    with connect(recurrent, proxy.address) as session:
        session.steps("a", x=x[:3])
        computed.clear()
        proxy.cuts.set()
        with pytest.raises(
            ModelError, match=r"it may have been computed, so it is not sent again.*reset\('a'\)"
        ):
            session.steps("a", x=x[3:4])
        proxy.cuts.clear()
        for _ in range(2):
            with pytest.raises(
                ModelError, match="a step was sent, but its answer did not arrive; begin again"
            ):
                session.steps("a", x=x[3:4])
        assert session.streams == []
        assert [one.tobytes() for one in computed] == [x[3:4].tobytes()]
        session.reset("a")
        np.testing.assert_array_equal(session.steps("a", x=x)["trend"], expected(recurrent, x))


def test_streams_of_a_call_that_fails_are_lost_together_and_others_are_not(server, proxy, recurrent):
    x = steps(3)
    with connect(recurrent, proxy.address) as session:
        session.run(["a", "b", "c"], x=x)
        proxy.cuts.set()
        with pytest.raises(ModelError, match="may have been computed"):
            session.run(["a", "b"], x=x[:2])
        proxy.cuts.clear()
        assert session.streams == ["c"]
        with pytest.raises(ModelError, match="the state of the stream 'b' is not known"):
            session.run(["c", "b"], x=x[:2])
        both = np.stack([x[2], x[0]])
        got = session.steps("c", x=both[1:])["trend"]  # the refused call took no step of it
        np.testing.assert_array_equal(got, expected(recurrent, both)[1:])


def test_a_stream_whose_step_was_taken_is_lost_if_that_of_another_fails(server, recurrent):
    x = steps(2)
    sequences = server.service.models["recurrent"]["1"].scheduler._sequences
    with connect(recurrent, server.address) as session:
        session.steps("a", x=x[:1])
        sequences._policy = replace(sequences._policy, max_sequences=1)
        with pytest.raises(
            ModelError, match=r"the stream 'b' failed .* keeps the states of at most 1 sequences"
        ):
            session.run(["a", "b"], x=x)
        assert session.streams == []
        with pytest.raises(ModelError, match="was taken in a call that failed, and the outputs are lost"):
            session.steps("a", x=x)


def test_a_step_that_the_server_refuses_may_be_taken_again(server, recurrent):
    x = steps(4)
    loaded = server.service.models["recurrent"]["1"]
    with connect(recurrent, server.address) as session:
        begin = session.steps("a", x=x[:2])["trend"]
        del server.service.models["recurrent"]  # without its sequences, which are in `loaded`
        with pytest.raises(ModelError, match="it was not computed, and the state is as it was"):
            session.steps("a", x=x[2:])
        server.service.models["recurrent"] = {"1": loaded}
        rest = session.steps("a", x=x[2:])["trend"]
    np.testing.assert_array_equal(np.concatenate([begin, rest]), expected(recurrent, x))


def test_a_call_that_fails_after_some_of_its_steps_loses_the_stream(server, recurrent):
    x = steps(3)
    loaded = server.service.models["recurrent"]["1"]
    find = server.service.find
    calls = []

    def find_twice(name, version=""):
        calls.append(name)
        if len(calls) > 2:
            server.service.models.clear()
        return find(name, version)

    with connect(recurrent, server.address) as session:
        session.steps("a", x=x[:1])
        server.service.find = find_twice
        with pytest.raises(ModelError, match="was not computed"):
            session.steps("a", x=np.repeat(x, 5, axis=0))
        server.service.find = find
        server.service.models["recurrent"] = {"1": loaded}
        with pytest.raises(
            ModelError, match="of its steps were taken in a call that failed then; begin again"
        ):
            session.steps("a", x=x)


def test_a_server_that_hangs_costs_the_timeout_and_the_stream(server, proxy, recurrent):
    x = steps(2)
    with connect(recurrent, proxy.address, timeout_s=5) as session:
        session.steps("a", x=x[:1])
        session._timeout_ns = 200_000_000
        server.loop.call_soon_threadsafe(threading.Event().wait, 1)
        with pytest.raises(ModelError, match="may have been computed"):
            session.steps("a", x=x[1:])
        session._timeout_ns = 20_000_000_000
        assert session.streams == []
        session.reset("a")
        np.testing.assert_array_equal(session.steps("a", x=x)["trend"], expected(recurrent, x))


def test_a_connection_that_was_closed_between_steps_is_opened_again(server, proxy, recurrent):
    x = steps(4)
    with connect(recurrent, proxy.address) as session:
        begin = session.steps("a", x=x[:2])["trend"]
        proxy.disconnect()
        rest = session.steps("a", x=x[2:])["trend"]
        np.testing.assert_array_equal(np.concatenate([begin, rest]), expected(recurrent, x))
        proxy.close()
        with pytest.raises(ModelError, match=r"cannot be reached: .*no step was sent"):
            session.steps("a", x=x)


def after_answers(session, count, act):
    """Call `act` once a session has got some answers."""
    answer, answered = session._answer, []

    def then_act(*arguments):
        outputs = answer(*arguments)
        answered.append(outputs)
        if len(answered) == count:
            act()
        return outputs

    session._answer = then_act


def test_a_stream_is_lost_if_the_server_goes_away_between_two_of_its_steps(server, proxy, recurrent):
    x = steps(4)
    with connect(recurrent, proxy.address) as session:
        after_answers(session, 2, proxy.close)
        with pytest.raises(ModelError, match=r"cannot be reached: .*; 2 steps before it were taken"):
            session.steps("a", x=x)
        assert session.streams == []
        with pytest.raises(ModelError, match="2 of its steps were taken in a call that failed then"):
            session.steps("a", x=x)


def test_streams_are_lost_if_the_server_goes_away_within_a_call(server, proxy, recurrent):
    many = STEPS_IN_FLIGHT + 2
    x = steps(many)
    with connect(recurrent, proxy.address) as session:
        session.run(range(many), x=x)
        after_answers(session, STEPS_IN_FLIGHT, proxy.close)
        with pytest.raises(
            ModelError,
            match=rf"cannot be reached: .*; the steps of {STEPS_IN_FLIGHT} other streams were taken",
        ):
            session.run(range(many), x=x)
        assert session.streams == [many - 2, many - 1]


def test_an_interrupted_call_loses_its_streams(computed, server, recurrent):
    def interrupt():
        raise KeyboardInterrupt

    x = steps(2)
    with connect(recurrent, server.address) as session:
        session.run(["a", "b"], x=x)
        computed.clear()
        after_answers(session, 1, interrupt)
        with pytest.raises(KeyboardInterrupt):
            session.steps("a", x=x[1:])
        assert len(computed) == 1
        assert session.streams == ["b"]
        with pytest.raises(ModelError, match=r"a call with its step was interrupted; begin again with reset"):
            session.steps("a", x=x[1:])
        got = session.steps("b", x=x[:1])["trend"]
    np.testing.assert_array_equal(got, expected(recurrent, x[::-1])[1:])


def test_sequences_end_with_the_session(server, recurrent):
    with connect(recurrent, server.address) as session:
        session.run(list("abc"), x=steps(3))
        kept = server.service.models["recurrent"]["1"].scheduler._sequences
        assert len(kept) == 3
        session.reset("a")
        assert len(kept) == 2
    assert len(kept) == 0


def test_a_server_that_computes_something_else_is_rejected(start_server, recurrent, tmp_path):
    model = parse_model(recurrent.model_bytes, "the model")
    for one in model.graph.initializer:
        if one.name == "v":
            one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one) * np.float32(1.5), "v"))
    other = pack(model, tmp_path / "recurrent.tamis", score="score").bundle
    server = start_server(other.path)
    with pytest.raises(
        VerificationError, match="does not compute recurrent as the reference does, output 'trend'"
    ):
        connect(recurrent, server.address)


def test_errors_say_what_is_wrong(server, recurrent):
    with pytest.raises(UsageError, match="has no state"):
        RemoteStatefulSession("conv-vae", Remote((server.address,)))
    with pytest.raises(UsageError, match="there are 2 and the fallback is None: name one server"):
        RemoteStatefulSession(recurrent, Remote((server.address, server.address)))
    with pytest.raises(UsageError, match="the fallback is native"):
        RemoteStatefulSession(recurrent, Remote((server.address,), fallback="native"))
    with pytest.raises(UsageError, match="local:/tmp/socket has no sequences"):
        RemoteStatefulSession(recurrent, Remote(("local:/tmp/socket",)))
    with connect(Bundle.open(recurrent.path), server.address) as session:
        with pytest.raises(InputMismatchError, match="takes x; got h"):
            session.steps("a", h=steps(1))
        with pytest.raises(InputMismatchError, match=r"expected \(2, 2\) and float32"):
            session.run(["a", "b"], x=steps(3))
        with pytest.raises(UsageError, match="each stream once"):
            session.run(["a", "a"], x=steps(2))
