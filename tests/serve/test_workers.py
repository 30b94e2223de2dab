"""Several server processes on the same ports."""

from __future__ import annotations

import os
import signal
import time
import urllib.request

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton
import tritonclient.http as http
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.utils import InferenceServerException

from tamis.bundle import Bundle

MODEL = "topology-gru"


def infer(address):
    """Send one request on a connection of its own."""
    bundle = Bundle.open(MODEL)
    inputs = []
    for spec in bundle.manifest.signature.inputs:
        array = np.ascontiguousarray(bundle.golden.inputs[spec.name][:3])
        inputs.append(triton.InferInput(spec.name, array.shape, "FP32"))
        inputs[-1].set_data_from_numpy(array)
    with triton.InferenceServerClient(address) as client:
        name = bundle.manifest.signature.outputs[0].name
        return client.infer(MODEL, inputs).as_numpy(name)


def counts(server):
    """Return the number of answered requests by worker."""
    url = next(line.split(": ", 1)[1] for line in server.output if line.startswith("metrics"))
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - our own server
        families = {
            family.name: family for family in text_string_to_metric_families(response.read().decode())
        }
    return {
        sample.labels["worker"]: int(sample.value)
        for sample in families["nv_inference_request_success"].samples
    }


def test_workers_share_connections_and_are_restarted(start):
    server = start(MODEL, "--workers", "2")
    assert "ready" in server.output
    first = infer(server.grpc)
    for _ in range(40):
        np.testing.assert_array_equal(infer(server.grpc), first)
    answered = counts(server)
    assert sum(answered.values()) == 41
    assert all(answered.values()), "the kernel assigns all connections to one worker"
    with (
        triton.InferenceServerClient(server.grpc) as client,
        pytest.raises(InferenceServerException, match="may not load or unload"),
    ):
        client.unload_model(MODEL)
    with (
        http.InferenceServerClient(server.http) as client,
        pytest.raises(InferenceServerException, match="may not load or unload"),
    ):
        client.unload_model(MODEL)
    workers = [
        child
        for child in psutil.Process(server.process.pid).children()
        if "spawn_main" in " ".join(child.cmdline())
    ]
    assert len(workers) == 2
    os.kill(workers[0].pid, signal.SIGKILL)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        alive = [child for child in psutil.Process(server.process.pid).children() if child.is_running()]
        if workers[0].pid not in [child.pid for child in alive] and len(counts(server)) == 2:
            break
        time.sleep(0.1)
    assert len(counts(server)) == 2
    np.testing.assert_array_equal(infer(server.grpc), first)
    assert server.end() == 0
    assert not any(worker.is_running() for worker in workers)


def test_startup_error_is_reported_once(start):
    server = start("nothing-like-it", "--workers", "2")
    assert server.end() not in (0, 70)
    assert [line for line in server.output if "nothing-like-it" in line]
    assert not any("Traceback" in line for line in server.output)
