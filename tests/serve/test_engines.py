"""Every engine behind a server: each transport and batch size returns what the session alone returns, bit for bit."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.grpc as grpc
import tritonclient.http as http
from tritonclient.utils import np_to_triton_dtype, shared_memory

import tamis
from tamis.bundle import Bundle, pack
from tamis.engines import Remote

BATCHES = (1, 2, 3, 16, 17, 300)
TYPES = (np.float32, np.int8, np.int32, np.int64, np.uint8, np.bool_)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory, parse_model):
    """A model with an input of every type that all engines take; a request's tensors follow each other at odd addresses."""
    model = parse_model(
        """mixed (bool[N, 3] flags, float[N, 5] x, uint8[N, 3] small, int8[N, 2] tiny, int32[N, 1] count, int64[N, 2] ids)
            => (float[N, 1] score, float[N, 5] y) {
            axes = Constant <value_ints = [1]> ()
            a = Cast <to = 1> (flags)
            b = Cast <to = 1> (small)
            c = Cast <to = 1> (tiny)
            d = Cast <to = 1> (count)
            e = Cast <to = 1> (ids)
            all = Concat <axis = 1> (a, b, c, d, e, x)
            score = ReduceSum <keepdims = 1> (all, axes)
            y = Relu (x)
        }"""
    )
    rng = np.random.default_rng(3)
    inputs = {
        "flags": rng.random((320, 3)) < 0.5,
        "x": rng.integers(-8, 8, (320, 5)).astype(np.float32),
        "small": rng.integers(0, 200, (320, 3)).astype(np.uint8),
        "tiny": rng.integers(-8, 8, (320, 2)).astype(np.int8),
        "count": rng.integers(-8, 8, (320, 1)).astype(np.int32),
        "ids": rng.integers(-8, 8, (320, 2)).astype(np.int64),
    }
    path = tmp_path_factory.mktemp("mixed") / "mixed.tamis"
    pack(model, path, inputs=inputs, score="score")
    return path, inputs


@pytest.fixture(scope="module")
def expected(mixed):
    """The outputs of all events, added up by numpy: the values are small integers, so sums are exact."""
    inputs = mixed[1]
    score = sum(np.asarray(array, np.float32).sum(axis=1, keepdims=True) for array in inputs.values())
    return {"score": score, "y": np.maximum(inputs["x"], 0)}


def check(result, expected, rows):
    for name, values in expected.items():
        np.testing.assert_array_equal(np.asarray(result[name]).reshape(values[rows].shape), values[rows])


def nvidia(module, client, inputs, *, binary):
    """Ask with NVIDIA's client."""
    tensors = []
    for name, array in inputs.items():
        tensor = module.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array, **({"binary_data": binary} if module is http else {}))
        tensors.append(tensor)
    options = {}
    if module is http:
        options["outputs"] = [http.InferRequestedOutput(name, binary_data=binary) for name in ("score", "y")]
    answer = client.infer("mixed", tensors, **options)
    return {name: answer.as_numpy(name) for name in ("score", "y")}


def through_region(client, inputs, expected):
    """Ask with inputs and outputs in one region of shared memory, one after the other without gaps."""
    ordered = list(inputs.items())
    sizes = [array.nbytes for _, array in ordered] + [values.nbytes for values in expected.values()]
    offsets = np.cumsum([1, *sizes]).tolist()  # starts at an odd address
    key = f"/tamis-{os.getpid()}-mixed"  # other processes run these tests at the same time
    region = shared_memory.create_shared_memory_region("mixed", key, offsets[-1])
    try:
        client.register_system_shared_memory("mixed", key, offsets[-1])
        tensors, outputs = [], []
        for (name, array), offset in zip(ordered, offsets, strict=False):
            shared_memory.set_shared_memory_region(region, [array], offset)
            tensor = grpc.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
            tensor.set_shared_memory("mixed", array.nbytes, offset)
            tensors.append(tensor)
        for (name, values), offset in zip(expected.items(), offsets[len(ordered) :], strict=False):
            output = grpc.InferRequestedOutput(name)
            output.set_shared_memory("mixed", values.nbytes, offset)
            outputs.append(output)
        client.infer("mixed", tensors, outputs=outputs)
        result = {}
        for (name, values), offset in zip(expected.items(), offsets[len(ordered) :], strict=False):
            result[name] = np.array(
                shared_memory.get_contents_as_numpy(region, np.float32, values.shape, offset)
            )
        return result
    finally:
        client.unregister_system_shared_memory("mixed")
        shared_memory.destroy_shared_memory_region(region)


@pytest.fixture(scope="module", params=["bundle", "repository"])
def server(request, engine_name, mixed, start_for_all, tmp_path_factory):
    """A server with this engine, of the bundle or of its ONNX file in a repository; `local` is its socket for shared memory."""
    socket, served = tmp_path_factory.mktemp("socket") / "s", mixed[0]
    if request.param == "repository":
        served = tmp_path_factory.mktemp("models")
        (served / "mixed" / "1").mkdir(parents=True)
        (served / "mixed" / "1" / "model.onnx").write_bytes(Bundle.open(mixed[0]).model_bytes)
        (served / "mixed" / "config.pbtxt").write_text("max_batch_size: 512 dynamic_batching { }")
    started = start_for_all(served, "--engine", engine_name, "--local", socket)
    assert any(line.startswith("ready") for line in started.output), started.output
    started.local = f"local:{socket}"
    yield started
    assert started.end() == 0, started.output


def part(inputs, rows):
    return {name: array[rows] for name, array in inputs.items()}


@pytest.mark.parametrize("batch", BATCHES)
def test_every_transport_returns_the_right_numbers(server, mixed, expected, batch):
    rows = slice(7, 7 + batch)
    inputs = part(mixed[1], rows)
    with grpc.InferenceServerClient(server.grpc) as client:
        check(nvidia(grpc, client, inputs, binary=True), expected, rows)
        check(through_region(client, inputs, part(expected, rows)), expected, rows)
    with http.InferenceServerClient(server.http) as client:
        check(nvidia(http, client, inputs, binary=True), expected, rows)
        check(nvidia(http, client, inputs, binary=False), expected, rows)
    for address in (server.grpc, server.local):
        with tamis.open(mixed[0], engine="remote", remote=Remote((address,), timeout_s=20)) as session:
            check(session.run(**inputs), expected, rows)


def test_merged_requests_return_the_right_numbers(server, mixed, expected):
    """Requests of many clients at a time, which the server may run as one batch."""

    def ask(first):
        with grpc.InferenceServerClient(server.grpc) as client:
            for batch in (1, 5, 16):
                rows = slice(first, first + batch)
                check(nvidia(grpc, client, part(mixed[1], rows), binary=True), expected, rows)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(24)))


def test_types_cover_what_engines_take(mixed):
    signature = Bundle.open(mixed[0]).manifest.signature
    assert {spec.dtype for spec in signature.inputs} == {np.dtype(t).name for t in TYPES}
