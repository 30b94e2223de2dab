"""The command `tamis serve` in a process of its own, used by NVIDIA's client."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton
from onnx import TensorProto, helper
from tritonclient.utils import InferenceServerException

from tamis.bundle import Bundle


def write_scale_model(folder, factor, name="scale"):
    """Write a model that multiplies its input, without configuration, into a Triton repository."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor("factor", TensorProto.FLOAT, [], [factor])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = folder / name / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def infer(client, model, array, name="x", output="y", **options):
    tensor = triton.InferInput(name, array.shape, "FP32")
    tensor.set_data_from_numpy(array)
    return client.infer(model, [tensor], **options).as_numpy(output)


def test_bundles_and_a_triton_repository_are_served_to_tritons_client(start, tmp_path):
    write_scale_model(tmp_path / "repository", 3.0)
    server = start(tmp_path / "repository", "conv-vae")
    assert any(
        line.startswith("READY: conv-vae 1: onnxruntime: conv-vae has no plan") for line in server.output
    )
    with triton.InferenceServerClient(server.grpc) as client:
        assert client.is_server_ready()
        assert client.is_model_ready("scale")
        bundle = Bundle.open("conv-vae")
        scores = infer(client, "conv-vae", bundle.golden.inputs["jets"], "jets", "score")
        np.testing.assert_allclose(scores, bundle.golden.outputs["score"][:, None], rtol=1e-4)
        x = np.arange(8, dtype=np.float32).reshape(2, 4)
        np.testing.assert_array_equal(infer(client, "scale", x), 3 * x)
        assert client.get_model_config("scale").config.platform == "onnxruntime_onnx"
        batching = client.get_model_config("conv-vae").config.dynamic_batching  # clients split arrays by it
        assert [1 <= size <= 4096 for size in batching.preferred_batch_size] == [True]
        assert client.get_inference_statistics("scale").model_stats[0].inference_count == 2
        with pytest.raises(InferenceServerException, match="did you mean 'scale'"):
            infer(client, "scala", x)
    assert server.end() == 0


def test_model_is_replaced_under_load_without_losing_requests(start, tmp_path):
    repository = tmp_path / "repository"
    write_scale_model(repository, 1.0)
    server = start(repository)
    x = np.ones((1, 4), np.float32)
    results: list[float] = []
    errors: list[Exception] = []
    ended = threading.Event()

    def request_repeatedly():
        with triton.InferenceServerClient(server.grpc) as client:
            while not ended.is_set():
                try:
                    results.append(float(infer(client, "scale", x)[0, 0]))
                except InferenceServerException as error:
                    errors.append(error)

    threads = [threading.Thread(target=request_repeatedly) for _ in range(3)]
    for thread in threads:
        thread.start()
    with triton.InferenceServerClient(server.grpc) as client:
        time.sleep(0.1)
        for factor in (2.0, 3.0, 4.0):
            shutil.rmtree(repository / "scale")
            write_scale_model(repository, factor)
            client.load_model("scale")
            assert infer(client, "scale", x)[0, 0] == factor
            until = time.monotonic() + 20
            while factor not in results and time.monotonic() < until:
                time.sleep(0.01)
        ended.set()
        for thread in threads:
            thread.join()
        assert not errors
        assert set(results) == {1.0, 2.0, 3.0, 4.0}
        client.unload_model("scale")
        assert not client.is_model_ready("scale")
        with pytest.raises(InferenceServerException):
            infer(client, "scale", x)
    assert server.end() == 0


def test_sigterm_finishes_requests_in_flight(start, tmp_path):
    server = start("top")
    bundle = Bundle.open("top")
    spec = bundle.manifest.signature.inputs[0]
    frames = np.repeat(bundle.golden.inputs[spec.name][:1], 64, axis=0)
    answers: list[object] = []
    with triton.InferenceServerClient(server.grpc) as client:
        tensor = triton.InferInput(spec.name, frames.shape, "FP32")
        tensor.set_data_from_numpy(frames)
        for _ in range(6):
            client.async_infer("top", [tensor], lambda result, error: answers.append(error or result))
        time.sleep(0.15)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(40) == 0
        deadline = time.monotonic() + 20
        while len(answers) < 6 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert [type(answer).__name__ for answer in answers] == ["InferResult"] * 6


def test_model_that_cannot_be_loaded_is_reported_and_others_are_served(start, tmp_path):
    repository = tmp_path / "repository"
    write_scale_model(repository, 2.0)
    write_scale_model(repository, 2.0, "broken")
    (repository / "broken" / "config.pbtxt").write_text('name: "broken"\nplatform: "ensemble"\n')
    server = start(repository)
    assert any(line.startswith("UNAVAILABLE: broken") and "ensemble" in line for line in server.output)
    assert "not ready: see above" in server.output
    with triton.InferenceServerClient(server.grpc) as client:
        assert not client.is_server_ready()
        assert client.is_server_live()
        assert client.is_model_ready("scale")
    assert server.end() == 0


def test_startup_error_is_one_sentence(tmp_path):
    for arguments, message in (
        ([tmp_path / "nothing"], "nothing"),
        (["conv-vae", "--certificate", tmp_path / "c.pem"], "TLS needs a certificate and its key"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "tamis", "serve", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode not in (0, 70)
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_exported_bundle_gives_the_same_scores(start, tmp_path):
    repository = tmp_path / "repository"
    command = [
        sys.executable,
        "-m",
        "tamis",
        "export",
        "conv-vae",
        "--to",
        "triton",
        "-o",
        str(repository),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    again = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert again.returncode not in (0, 70)
    assert "already exists" in again.stderr
    assert compile((repository / "conv-vae" / "1" / "model.py").read_text(), "model.py", "exec")
    server = start(repository)
    bundle = Bundle.open("conv-vae")
    with triton.InferenceServerClient(server.grpc) as client:
        assert client.get_model_config("conv-vae").config.backend == "python"
        scores = infer(client, "conv-vae", bundle.golden.inputs["jets"], "jets", "score")
        np.testing.assert_allclose(scores, bundle.golden.outputs["score"][:, None], rtol=1e-4)
    assert server.end() == 0


def test_log_has_a_line_per_request_with_its_id(start, tmp_path):
    log = tmp_path / "requests.jsonl"
    server = start("topology-gru", "--log", log)
    bundle = Bundle.open("topology-gru")
    arrays = {
        spec.name: np.ascontiguousarray(bundle.golden.inputs[spec.name][:3])
        for spec in bundle.manifest.signature.inputs
    }
    inputs = []
    for name, array in arrays.items():
        inputs.append(triton.InferInput(name, array.shape, "FP32"))
        inputs[-1].set_data_from_numpy(array)
    with triton.InferenceServerClient(server.grpc) as client:
        for number in range(3):
            client.infer("topology-gru", inputs, request_id=f"run 1 event {number}")
        with pytest.raises(InferenceServerException):
            client.infer("topology-grue", inputs, request_id="lost")
    assert server.end() == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    answered = [line for line in lines if line["event"] == "answered"]
    assert [line["id"] for line in answered] == [f"run 1 event {number}" for number in range(3)]
    assert all(line["model"] == "topology-gru" and line["rows"] == 3 for line in answered)
    assert all(line["computed_us"] > 0 and line["waited_us"] >= 0 for line in answered)
    (refused,) = [line for line in lines if line["event"] == "refused"]
    assert refused["id"] == "lost"
    assert "did you mean 'topology-gru'" in refused["why"]


def test_connection_beyond_the_limit_is_closed(start):
    server = start("topology-gru", "--max-connections", "3")
    address = (server.grpc.rsplit(":", 1)[0], int(server.grpc.rsplit(":", 1)[1]))
    with triton.InferenceServerClient(server.grpc) as client:
        assert client.is_server_live()
        others = [socket.create_connection(address, 10) for _ in range(2)]
        for other in others:
            assert other.recv(1000)  # the server's settings
        for _ in range(5):
            with socket.create_connection(address, 10) as more, contextlib.suppress(ConnectionResetError):
                assert more.recv(1000) == b""
        assert client.is_server_live()
        others.pop().close()
        for other in others:
            other.close()
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with socket.create_connection(address, 10) as again:
                try:
                    if again.recv(1000):
                        break
                except ConnectionResetError:
                    time.sleep(0.01)
        else:
            pytest.fail("no connection was accepted after one was closed")
    assert server.end() == 0
