"""Sequences on a server in a process of its own, with NVIDIA's clients and ours: bit for bit the outputs of a local session."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tritonclient.grpc as grpc
import tritonclient.http as http
from click.testing import CliRunner
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import InferenceServerException

import tamis
from tamis._base import MissingExtraError, ModelError, UsageError
from tamis.cli.app import app
from tamis.engines import Remote, StatefulSession
from tamis.serve.client import RemoteStatefulSession
from tamis.serve.export import export_triton, triton_server, verify_export

MODULES = {"grpc": grpc, "http": http}
START = "must specify the START flag on the first request of the sequence"


@pytest.fixture(scope="module")
def server(recurrent, start_for_all):
    return start_for_all(recurrent.path, "--engine", "onnxruntime", "--max-sequences", "40")


@pytest.fixture(params=["grpc", "http"])
def client(request, server):
    module = MODULES[request.param]
    with module.InferenceServerClient(getattr(server, request.param)) as triton:
        yield triton


def steps(count, seed=2):
    return np.random.default_rng(seed).normal(size=(count, 2)).astype(np.float32)


def tensor(module, name, array):
    one = module.InferInput(name, array.shape, "FP32")
    one.set_data_from_numpy(array)
    return one


def send(triton, row, sequence_id=0, *, start=False, end=False, name="recurrent", **states):
    """Take a step with NVIDIA's client; return the answer."""
    module = grpc if isinstance(triton, grpc.InferenceServerClient) else http
    inputs = [tensor(module, "x", row), *(tensor(module, key, value) for key, value in states.items())]
    return triton.infer(name, inputs, sequence_id=sequence_id, sequence_start=start, sequence_end=end)


def expected(bundle, x):
    with tamis.open(bundle, "onnxruntime") as session:
        return StatefulSession(session).steps("a", x=x)


def assert_same(answers, outputs):
    for name, values in outputs.items():
        got = np.concatenate([one.as_numpy(name) for one in answers])
        np.testing.assert_array_equal(got.reshape(values.shape), values)


@pytest.mark.parametrize("sequence_id", [11, 2**62 + 1, "eleven"])
def test_nvidias_clients_get_the_outputs_of_a_local_session(client, recurrent, sequence_id):
    x = steps(50)
    last = len(x) - 1
    answers = [send(client, x[i : i + 1], sequence_id, start=i == 0, end=i == last) for i in range(len(x))]
    assert_same(answers, expected(recurrent, x))
    with pytest.raises(InferenceServerException, match=START):
        send(client, x[:1], sequence_id)


def test_interleaved_sequences_do_not_mix(client, recurrent):
    streams = {key: steps(20, seed=key) for key in (1, 2, 3)}
    answers = {key: [] for key in streams}
    for i in range(20):
        for key, x in streams.items():
            answers[key].append(send(client, x[i : i + 1], key, start=i == 0, end=i == 19))
    for key, x in streams.items():
        assert_same(answers[key], expected(recurrent, x))


def test_two_protocols_advance_one_sequence(server, recurrent):
    x = steps(20)
    with (
        grpc.InferenceServerClient(server.grpc) as first,
        http.InferenceServerClient(server.http) as second,
    ):
        answers = [
            send((first, second)[i % 2], x[i : i + 1], 5, start=i == 0, end=i == 19) for i in range(20)
        ]
    assert_same(answers, expected(recurrent, x))


def test_steps_that_are_in_flight_together_are_taken_in_their_order(server, recurrent):
    x, done = steps(200), queue.Queue()
    with grpc.InferenceServerClient(server.grpc) as client:
        client.start_stream(callback=lambda result, error: done.put(error or result))
        for i in range(len(x)):
            client.async_stream_infer(
                "recurrent",
                [tensor(grpc, "x", x[i : i + 1])],
                request_id=str(i),
                sequence_id=6,
                sequence_start=i == 0,
                sequence_end=i == len(x) - 1,
            )
        answers = [done.get(timeout=20) for _ in x]
        client.stop_stream()
    assert [int(one.get_response().id) for one in answers] == list(range(len(x)))
    assert_same(answers, expected(recurrent, x))


def test_concurrent_connections_advance_one_sequence_one_step_at_a_time(server, recurrent):
    """Equal steps from four connections at once: whatever their order, every one counts, and exactly once."""
    x = np.repeat(steps(1), 81, axis=0)
    answers, lock = [], threading.Lock()
    with grpc.InferenceServerClient(server.grpc) as client:
        answers.append(send(client, x[:1], 7, start=True))

    def work():
        with grpc.InferenceServerClient(server.grpc) as own:
            for _ in range(20):
                answer = send(own, x[:1], 7)
                with lock:
                    answers.append(answer)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = sorted(one.as_numpy("trend").tobytes() for one in answers)
    assert found == sorted(row.tobytes() for row in expected(recurrent, x)["trend"])


def test_metadata_and_configuration_describe_the_states(server, recurrent):
    with (
        grpc.InferenceServerClient(server.grpc) as first,
        http.InferenceServerClient(server.http) as second,
    ):
        metadata = first.get_model_metadata("recurrent")
        assert [one.name for one in metadata.inputs] == ["x"]
        assert [one.name for one in metadata.outputs] == ["score", "trend"]
        assert [one["name"] for one in second.get_model_metadata("recurrent")["inputs"]] == ["x"]
        assert [one["name"] for one in second.get_model_metadata("recurrent")["outputs"]] == [
            "score",
            "trend",
        ]
        config = first.get_model_config("recurrent").config
        assert_describes_states(config)
        assert config.sequence_batching.oldest.max_candidate_sequences == 40
        assert config.sequence_batching.max_sequence_idle_microseconds == 3_600_000_000
        document = second.get_model_config("recurrent")
        state = document["sequence_batching"]["state"][0]
        assert (state["input_name"], state["output_name"], state["dims"]) == ("h", "next_h", ["3"])
        assert "sequence" in first.get_server_metadata().extensions


def assert_describes_states(config):
    assert [one.name for one in config.input] == ["x"]
    assert [one.name for one in config.output] == ["score", "trend"]
    assert not config.HasField("dynamic_batching")
    states = config.sequence_batching.state
    assert [(one.input_name, one.output_name, *one.dims) for one in states] == [
        ("h", "next_h", 3),
        ("c", "next_c", 2),
    ]
    for one in states:
        (initial,) = one.initial_state
        assert one.data_type == initial.data_type == model_config_pb2.TYPE_FP32
        assert (list(initial.dims), initial.zero_data) == (list(one.dims), True)


def test_errors_say_what_to_do(client):
    x = steps(2)
    with pytest.raises(
        InferenceServerException, match=rf"sequence 404 to model 'recurrent' {START}"
    ) as caught:
        send(client, x[:1], 404)
    assert caught.value.status() in {"400", "StatusCode.INVALID_ARGUMENT"}
    with pytest.raises(InferenceServerException, match=r"lacks the input 'h'; pass sequence_id"):
        send(client, x[:1])
    with pytest.raises(
        InferenceServerException, match="has 2 rows; a request with a sequence_id is one step"
    ):
        send(client, x, 404, start=True)


def test_clients_may_pass_the_states_themselves(client, recurrent):
    x, states = steps(5), {"h": np.zeros((1, 3), np.float32), "c": np.zeros((1, 2), np.float32)}
    answers = []
    for row in x:
        answers.append(send(client, row[None], **states))
        states = {name: answers[-1].as_numpy(f"next_{name}") for name in states}
    assert_same(answers, expected(recurrent, x))


def test_a_local_stateful_session_on_the_engine_remote_keeps_its_states_itself(server, recurrent, tmp_path):
    x = steps(30)
    remote = Remote((server.grpc,), timeout_s=20)
    with tamis.open(recurrent, "remote", remote=remote) as session:
        first = StatefulSession(session)
        begin = first.steps("a", x=x[:10])
        first.save(tmp_path / "states.safetensors")
        second = StatefulSession(session)
        second.restore(tmp_path / "states.safetensors")
        rest = second.steps("a", x=x[10:])
    for name, values in expected(recurrent, x).items():
        np.testing.assert_array_equal(np.concatenate([begin[name], rest[name]]), values)


def test_our_client_has_the_outputs_of_a_local_session(server, recurrent):
    x = steps(60)
    x[17] = np.nan
    with RemoteStatefulSession(recurrent, Remote((server.grpc,), timeout_s=20)) as session:
        begin = session.steps("a", x=x[:25])
        session.steps("b", x=x[5:9])
        session.reset("b")
        rest = [session.run(["a", "b"], x=np.stack([x[i], x[i - 25]])) for i in range(25, 60)]
        assert session.streams == ["a", "b"]
        assert session.steps("c", x=x[:0])["score"].shape == (0,)
    whole = expected(recurrent, x)
    for name, values in whole.items():
        streams = [np.stack([one[name][row] for one in rest]) for row in (0, 1)]
        np.testing.assert_array_equal(begin[name], values[:25])
        np.testing.assert_allclose(streams[0], values[25:], rtol=1e-6)  # the server may run both in one batch
        np.testing.assert_allclose(streams[1], values[: len(rest)], rtol=1e-6)


def test_our_client_ends_its_sequences(server, recurrent):
    x = np.zeros((30, 2), np.float32)
    for _ in range(3):  # the server keeps 40
        with RemoteStatefulSession(recurrent, Remote((server.grpc,), timeout_s=20)) as session:
            session.run(list(range(30)), x=x)


def test_too_many_sequences_and_a_client_that_was_killed(recurrent, start):
    """A killed client leaves its sequences: nobody takes their place while they live, and everybody once they are idle."""
    server = start(recurrent.path, "--max-sequences", "2", "--sequence-idle", "2")
    code = (
        "import sys, time, numpy as np, tritonclient.grpc as grpc\n"
        "client = grpc.InferenceServerClient(sys.argv[1])\n"
        "tensor = grpc.InferInput('x', (1, 2), 'FP32')\n"
        "tensor.set_data_from_numpy(np.zeros((1, 2), np.float32))\n"
        "for key in (1, 2):\n"
        "    client.infer('recurrent', [tensor], sequence_id=key, sequence_start=True)\n"
        "print('started', flush=True)\n"
        "time.sleep(600)\n"
    )
    x = steps(1)
    with subprocess.Popen([sys.executable, "-c", code, server.grpc], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout.readline() == b"started\n"
        finally:
            other.kill()
    with grpc.InferenceServerClient(server.grpc) as client:
        until, refusals = time.monotonic() + 60, []
        while time.monotonic() < until:
            try:
                send(client, x, 3, start=True)
            except InferenceServerException as error:
                refusals.append((error.status(), str(error)))
                time.sleep(0.05)
            else:
                break
        else:
            pytest.fail("the sequences of a client that was killed were not dropped")
        for status, message in refusals:
            assert status == "StatusCode.UNAVAILABLE"
            assert "keeps the states of at most 2 sequences" in message
        with pytest.raises(InferenceServerException, match=START):
            send(client, x, 1)


def test_a_model_that_is_loaded_again_has_no_sequences(recurrent, start):
    server = start(recurrent.path)
    x = steps(3)
    with (
        grpc.InferenceServerClient(server.grpc) as client,
        RemoteStatefulSession(recurrent, Remote((server.grpc,), timeout_s=20)) as session,
    ):
        send(client, x[:1], 1, start=True)
        session.steps("a", x=x)
        client.load_model("recurrent")
        with pytest.raises(InferenceServerException, match=START):
            send(client, x[:1], 1)
        with pytest.raises(ModelError, match=r"begin again with reset\('a'\)"):
            session.steps("a", x=x)
        with pytest.raises(ModelError, match="the state of the stream 'a' is not known"):
            session.steps("a", x=x)
        session.reset("a")
        np.testing.assert_array_equal(session.steps("a", x=x)["trend"], expected(recurrent, x)["trend"])
        send(client, x[:1], 1, start=True)
        client.unload_model("recurrent")
        with pytest.raises(InferenceServerException, match="unloaded"):
            send(client, x[:1], 1)


def test_several_workers_do_not_serve_sequences(recurrent, start):
    server = start(recurrent.path, "--workers", "2")
    assert any(
        "recurrent keeps states of sequences, which several --workers cannot share" in line
        for line in server.output
    )
    assert server.end() != 0
    server = start(recurrent.path, "--workers", "2", "--max-sequences", "0")
    assert "ready" in server.output
    with grpc.InferenceServerClient(server.grpc) as client:
        assert [one.name for one in client.get_model_metadata("recurrent").inputs] == ["x", "h", "c"]
        assert not client.get_model_config("recurrent").config.HasField("sequence_batching")


def test_export_has_the_states_in_its_configuration_and_is_served(recurrent, start, tmp_path):
    folder = export_triton(recurrent, tmp_path, delay_us=500)
    config = text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert_describes_states(config)
    assert (config.backend, config.default_model_filename) == ("onnxruntime", "model.onnx")
    assert config.sequence_batching.oldest.max_queue_delay_microseconds == 500
    assert [one.HasField("reshape") for one in config.output] == [True, False]  # a score per row
    assert (folder / "1" / "model.onnx").read_bytes() == recurrent.model_bytes
    text = (folder / "config.pbtxt").read_text()
    limited = text.replace("max_candidate_sequences: 1024", "max_candidate_sequences: 1")
    assert limited != text
    (folder / "config.pbtxt").write_text(limited)
    server, x = start(tmp_path), steps(5)
    with grpc.InferenceServerClient(server.grpc) as client:
        answers = [send(client, x[i : i + 1], 1, start=i == 0) for i in range(5)]
        assert_same(answers, expected(recurrent, x))
        assert_describes_states(client.get_model_config("recurrent").config)
        assert [one.name for one in client.get_model_metadata("recurrent").inputs] == ["x"]
        with pytest.raises(InferenceServerException, match="keeps the states of at most 1 sequences"):
            send(client, x[:1], 2, start=True)


def test_what_an_export_of_states_cannot_do_is_said(recurrent, tmp_path):
    with pytest.raises(UsageError, match="export it with the engine onnxruntime"):
        export_triton(recurrent, tmp_path, engine="native")
    with pytest.raises(
        UsageError, match="states need Triton's ONNX Runtime backend, which nvidia-pytriton does not"
    ):
        verify_export(recurrent, tmp_path)
    command = [
        "export",
        str(recurrent.path),
        "--to",
        "triton",
        "--verify",
        "-o",
        str(tmp_path / "repository"),
    ]
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, UsageError)
    assert not (tmp_path / "repository").exists()


TRITON_CONFIG = """
backend: "python" max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: 2 }
output [{ name: "score" data_type: TYPE_FP32 dims: 1 }, { name: "trend" data_type: TYPE_FP32 dims: 2 }]
instance_group { kind: KIND_CPU }
sequence_batching {
  max_sequence_idle_microseconds: 600000000
  oldest { max_candidate_sequences: 16 }
  control_input { name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } }
  control_input { name: "ID" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } }
}
"""
TRITON_MODEL = """
import numpy as np
import tamis
import triton_python_backend_utils as pb_utils
from tamis.engines import StatefulSession

class TritonPythonModel:
    def initialize(self, args):
        self.session = StatefulSession(tamis.open(BUNDLE, "onnxruntime"))

    def execute(self, requests):
        return [self.step(*[np.from_dlpack(pb_utils.get_input_tensor_by_name(one, n)) for n in ("x", "START", "ID")]) for one in requests]

    def step(self, x, start, key):
        if start.any():
            self.session.reset(key.item())
        outputs = self.session.steps(key.item(), x=x)
        outputs["score"] = outputs["score"][:, None]
        return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack(n, v) for n, v in outputs.items()])
"""


def test_our_client_works_with_the_sequences_of_nvidia_triton(recurrent, tmp_path):
    """Triton of the wheel has only the Python backend, in which a model keeps the states itself; the protocol is the same."""
    folder = tmp_path / "recurrent"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(TRITON_CONFIG)
    (folder / "1" / "model.py").write_text(TRITON_MODEL.replace("BUNDLE", repr(str(recurrent.path))))
    running = triton_server(tmp_path, environment={"OMP_NUM_THREADS": "1"})
    try:
        address = running.__enter__()
    except MissingExtraError as error:
        pytest.skip(str(error))
    x = steps(30)
    try:
        with RemoteStatefulSession(recurrent, Remote((address.grpc,), timeout_s=20)) as session:
            begin = session.steps("a", x=x[:20])
            both = session.run(["a", "b"], x=x[[20, 0]])
            rest = session.steps("a", x=x[21:])
            session._streams["b"].sequence_id += 1  # one that Triton does not know
            with pytest.raises(ModelError, match=rf"{START}.*begin again with reset\('b'\)"):
                session.steps("b", x=x)
    finally:
        running.__exit__(None, None, None)
    for name, values in expected(recurrent, x).items():
        np.testing.assert_array_equal(np.concatenate([begin[name], both[name][:1], rest[name]]), values)
        np.testing.assert_array_equal(both[name][1], values[0])
