"""The command `serve`, as a process of its own, asked by NVIDIA's client."""

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


def scaled(folder, factor, name="scale"):
    """Write a model that multiplies, in a Triton repository, with no configuration at all."""
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


def ask(client, model, array, name="x", output="y", **options):
    given = triton.InferInput(name, array.shape, "FP32")
    given.set_data_from_numpy(array)
    return client.infer(model, [given], **options).as_numpy(output)


def test_bundles_and_a_triton_repository_are_served_to_tritons_own_client(start, tmp_path):
    scaled(tmp_path / "repository", 3.0)
    server = start(tmp_path / "repository", "conv-vae")
    assert "READY: conv-vae 1" in server.told
    with triton.InferenceServerClient(server.grpc) as client:
        assert client.is_server_ready()
        assert client.is_model_ready("scale")
        bundle = Bundle.open("conv-vae")
        scores = ask(client, "conv-vae", bundle.golden.inputs["jets"], "jets", "score")
        np.testing.assert_allclose(scores, bundle.golden.outputs["score"][:, None], rtol=1e-4)
        x = np.arange(8, dtype=np.float32).reshape(2, 4)
        np.testing.assert_array_equal(ask(client, "scale", x), 3 * x)
        assert client.get_model_config("scale").config.platform == "onnxruntime_onnx"
        told = client.get_model_config("conv-vae").config.dynamic_batching  # clients cut their arrays by it
        assert [1 <= size <= 4096 for size in told.preferred_batch_size] == [True]
        assert client.get_inference_statistics("scale").model_stats[0].inference_count == 2
        with pytest.raises(InferenceServerException, match="did you mean 'scale'"):
            ask(client, "scala", x)
    assert server.end() == 0


def test_a_model_is_changed_under_traffic_and_no_request_is_lost(start, tmp_path):
    repository = tmp_path / "repository"
    scaled(repository, 1.0)
    server = start(repository)
    x = np.ones((1, 4), np.float32)
    found: list[float] = []
    wrong: list[Exception] = []
    ended = threading.Event()

    def work():
        with triton.InferenceServerClient(server.grpc) as client:
            while not ended.is_set():
                try:
                    found.append(float(ask(client, "scale", x)[0, 0]))
                except InferenceServerException as error:
                    wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    with triton.InferenceServerClient(server.grpc) as client:
        time.sleep(0.1)
        for factor in (2.0, 3.0, 4.0):
            shutil.rmtree(repository / "scale")
            scaled(repository, factor)
            client.load_model("scale")
            assert ask(client, "scale", x)[0, 0] == factor
            until = time.monotonic() + 20
            while factor not in found and time.monotonic() < until:
                time.sleep(0.01)
        ended.set()
        for thread in threads:
            thread.join()
        assert not wrong
        assert set(found) == {1.0, 2.0, 3.0, 4.0}
        client.unload_model("scale")
        assert not client.is_model_ready("scale")
        with pytest.raises(InferenceServerException):
            ask(client, "scale", x)
    assert server.end() == 0


def test_sigterm_finishes_what_is_under_way(start, tmp_path):
    server = start("top")
    bundle = Bundle.open("top")
    spec = bundle.manifest.signature.inputs[0]
    frames = np.repeat(bundle.golden.inputs[spec.name][:1], 64, axis=0)
    answers: list[object] = []
    with triton.InferenceServerClient(server.grpc) as client:
        given = triton.InferInput(spec.name, frames.shape, "FP32")
        given.set_data_from_numpy(frames)
        for _ in range(6):
            client.async_infer("top", [given], lambda result, error: answers.append(error or result))
        time.sleep(0.15)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(40) == 0
        deadline = time.monotonic() + 20
        while len(answers) < 6 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert [type(answer).__name__ for answer in answers] == ["InferResult"] * 6


def test_what_cannot_be_served_is_told_and_the_rest_goes_on(start, tmp_path):
    repository = tmp_path / "repository"
    scaled(repository, 2.0)
    scaled(repository, 2.0, "broken")
    (repository / "broken" / "config.pbtxt").write_text('name: "broken"\nplatform: "ensemble"\n')
    server = start(repository)
    assert any(line.startswith("UNAVAILABLE: broken") and "ensemble" in line for line in server.told)
    assert "not ready: see above" in server.told
    with triton.InferenceServerClient(server.grpc) as client:
        assert not client.is_server_ready()
        assert client.is_server_live()
        assert client.is_model_ready("scale")
    assert server.end() == 0


def test_what_is_wrong_at_the_start_is_one_sentence(tmp_path):
    for arguments, told in (
        ([tmp_path / "nothing"], "nothing"),
        (["conv-vae", "--certificate", tmp_path / "c.pem"], "TLS takes a certificate and its key"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "tamis", "serve", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode not in (0, 70)
        assert told in done.stderr
        assert "Traceback" not in done.stderr


def test_an_exported_bundle_is_served_as_the_bundle_itself(start, tmp_path):
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
        scores = ask(client, "conv-vae", bundle.golden.inputs["jets"], "jets", "score")
        np.testing.assert_allclose(scores, bundle.golden.outputs["score"][:, None], rtol=1e-4)
    assert server.end() == 0


def test_the_log_has_a_line_per_request_with_its_id(start, tmp_path):
    log = tmp_path / "requests.jsonl"
    server = start("topology-gru", "--log", log)
    bundle = Bundle.open("topology-gru")
    arrays = {
        one.name: np.ascontiguousarray(bundle.golden.inputs[one.name][:3])
        for one in bundle.manifest.signature.inputs
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


def test_one_connection_too_many_is_cut_and_the_others_go_on(start):
    server = start("topology-gru", "--max-connections", "3")
    place = (server.grpc.rsplit(":", 1)[0], int(server.grpc.rsplit(":", 1)[1]))
    with triton.InferenceServerClient(server.grpc) as client:
        assert client.is_server_live()
        held = [socket.create_connection(place, 10) for _ in range(2)]
        for one in held:
            assert one.recv(1000)  # the server's greeting
        for _ in range(5):
            with socket.create_connection(place, 10) as more, contextlib.suppress(ConnectionResetError):
                assert more.recv(1000) == b""
        assert client.is_server_live()
        held.pop().close()
        for one in held:
            one.close()
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with socket.create_connection(place, 10) as again:
                try:
                    if again.recv(1000):
                        break
                except ConnectionResetError:
                    time.sleep(0.01)
        else:
            pytest.fail("a place that became free was given to nobody")
    assert server.end() == 0
