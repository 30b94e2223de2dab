"""Several server processes at one port."""

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


def asked(address):
    """Ask over a connection of its own."""
    bundle = Bundle.open(MODEL)
    inputs = []
    for one in bundle.manifest.signature.inputs:
        array = np.ascontiguousarray(bundle.golden.inputs[one.name][:3])
        inputs.append(triton.InferInput(one.name, array.shape, "FP32"))
        inputs[-1].set_data_from_numpy(array)
    with triton.InferenceServerClient(address) as client:
        name = bundle.manifest.signature.outputs[0].name
        return client.infer(MODEL, inputs).as_numpy(name)


def counts(server):
    """Return how many requests each worker has answered."""
    place = next(line.split(": ", 1)[1] for line in server.told if line.startswith("metrics"))
    with urllib.request.urlopen(place, timeout=10) as answer:  # noqa: S310 - our own server
        families = {one.name: one for one in text_string_to_metric_families(answer.read().decode())}
    return {one.labels["worker"]: int(one.value) for one in families["nv_inference_request_success"].samples}


def test_connections_are_spread_and_metrics_gathered_and_what_dies_comes_back(start):
    server = start(MODEL, "--workers", "2")
    assert "ready" in server.told
    first = asked(server.grpc)
    for _ in range(40):
        np.testing.assert_array_equal(asked(server.grpc), first)
    answered = counts(server)
    assert sum(answered.values()) == 41
    assert all(answered.values()), "the system hands connections to one worker only"
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
        one
        for one in psutil.Process(server.process.pid).children()
        if "spawn_main" in " ".join(one.cmdline())
    ]
    assert len(workers) == 2
    os.kill(workers[0].pid, signal.SIGKILL)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        alive = [one for one in psutil.Process(server.process.pid).children() if one.is_running()]
        if workers[0].pid not in [one.pid for one in alive] and len(counts(server)) == 2:
            break
        time.sleep(0.1)
    assert len(counts(server)) == 2
    np.testing.assert_array_equal(asked(server.grpc), first)
    assert server.end() == 0
    assert not any(one.is_running() for one in workers)


def test_what_is_wrong_at_the_start_is_told_once(start):
    server = start("nothing-like-it", "--workers", "2")
    assert server.end() not in (0, 70)
    assert [line for line in server.told if "nothing-like-it" in line]
    assert not any("Traceback" in line for line in server.told)
