"""NVIDIA's perf_analyzer, a C++ client, against our server and NVIDIA Triton: no request fails in any of its modes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tritonclient.grpc as grpc

from tamis._base import MissingExtraError
from tamis.bundle import Bundle
from tamis.serve.export import export_triton, triton_server

FOLDER = Path(sys.prefix) / "perf_analyzer"
ENVIRONMENT = {**os.environ, "LD_LIBRARY_PATH": str(FOLDER)}
MODES = {
    "plain": [],
    "batch": ["-b", "16"],
    "concurrent": ["--async", "--concurrency-range", "4"],
    "rate": ["--request-rate-range", "100"],
    "shared-memory": ["--shared-memory", "system"],
    "shared-memory-batch": ["--shared-memory", "system", "-b", "7", "--concurrency-range", "2"],
    "zeros": ["-z"],
}
GRPC_MODES = {
    "streaming": ["--streaming", "-b", "3", "--concurrency-range", "2"],
    "compressed": ["--grpc-compression-algorithm", "gzip"],
    "parameter": ["--request-parameter", "anything:5:int"],
}
HTTP_MODES = {"json": ["--input-tensor-format", "json", "--output-tensor-format", "json", "-b", "3"]}

pytestmark = pytest.mark.slow

TOO_SHORT = ("use a larger time window", "Pass contained only one request")  # for the window


@pytest.fixture(scope="module")
def program():
    """The program, with all libraries that it needs."""
    path = FOLDER / "perf_analyzer"
    if not path.exists():
        pytest.skip("perf_analyzer is not installed: run python tools/perf_analyzer.py")
    linked = subprocess.run(["ldd", path], capture_output=True, text=True, check=True, env=ENVIRONMENT).stdout
    missing = re.findall(r"(\S+) => not found", linked)
    if missing:
        pytest.skip(f"perf_analyzer needs {', '.join(missing)}; Debian's package libb64-0d has libb64")
    return path


ENGINES = ["onnxruntime", "native", "openvino", "torch", "reference"]


@pytest.fixture(scope="module", params=[*ENGINES, "repository", "triton"])
def server(request, tmp_path_factory, start_for_all):
    """Our server with an engine, with the bundles or with their ONNX files in a repository, or Triton."""
    if request.param != "triton":
        served, engine = ("facile", "topology-both"), request.param
        if engine == "repository":
            folder, engine = tmp_path_factory.mktemp("models"), "native"
            for name in served:
                (folder / name / "1").mkdir(parents=True)
                (folder / name / "1" / "model.onnx").write_bytes(Bundle.open(name).model_bytes)
                (folder / name / "config.pbtxt").write_text("max_batch_size: 64 dynamic_batching { }")
            served = (folder,)
        started = start_for_all(*served, "--engine", engine)
        assert started.output[-1] == "ready", started.output
        yield {"grpc": started.grpc, "http": started.http}
        assert started.end() == 0
        assert not any("Traceback" in line for line in started.output)
        return
    folder = tmp_path_factory.mktemp("repository")
    for name in ("facile", "topology-both"):
        export_triton(Bundle.open(name), folder)
    try:
        running = triton_server(folder, explicit=True, environment={"OMP_NUM_THREADS": "1"})
        addresses = running.__enter__()
    except MissingExtraError as error:
        pytest.skip(str(error))
    yield {"grpc": addresses.grpc, "http": addresses.http}
    running.__exit__(None, None, None)


def measured(program, window_ms, address, protocol, model, mode):
    """Run perf_analyzer; one window counts as stable at any spread, since nothing is measured here."""
    command = [program, "-m", model, "-i", protocol, "-u", address, "-p", window_ms, "-s", "99999", "-r", "4"]
    found = subprocess.run(
        [*command, *(MODES | GRPC_MODES | HTTP_MODES)[mode]],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
        timeout=120,
    )
    return found, found.stdout + found.stderr


@pytest.mark.parametrize("model", ["facile", "topology-both"])
@pytest.mark.parametrize(
    ("protocol", "mode"),
    [("grpc", mode) for mode in MODES | GRPC_MODES] + [("http", mode) for mode in MODES | HTTP_MODES],
)
def test_no_request_fails(program, server, protocol, model, mode):
    found, text = measured(program, "150", server[protocol], protocol, model, mode)
    if any(hint in text for hint in TOO_SHORT):  # on a busy machine
        found, text = measured(program, "5000", server[protocol], protocol, model, mode)
    assert found.returncode == 0, text
    assert int(re.search(r"Request count: (\d+)", text)[1]) > 5
    assert "ailed request" not in text
    with grpc.InferenceServerClient(server["grpc"]) as client:
        statistics = client.get_inference_statistics(model).model_stats[0].inference_stats
    assert statistics.success.count > 5
    assert statistics.fail.count == 0
