"""The same tests on our server and NVIDIA Triton, with our client and NVIDIA's.

Both serve the same repository: bundles exported by `tamis export --to triton`.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import time
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import pytest
import tritonclient.grpc as grpc
import tritonclient.http as http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype, shared_memory

import tamis
from tamis._base import MissingExtraError, TamisError
from tamis.bundle import Bundle
from tamis.engines import Remote
from tamis.serve.export import export_triton, triton_server, verify_export

MODELS = ("conv-vae", "topology-both", "graph-vae")


class Addresses(NamedTuple):
    grpc: str
    http: str


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    for name in MODELS:
        export_triton(Bundle.open(name), folder, delay_us=500)
    return folder


@pytest.fixture(scope="module", params=["tamis", "triton"])
def server(request, repository, start_for_all):
    if request.param == "tamis":
        started = start_for_all(repository)
        yield Addresses(started.grpc, started.http)
        assert started.end() == 0
        return
    try:
        running = triton_server(repository, explicit=True, environment={"OMP_NUM_THREADS": "1"})
        addresses = running.__enter__()
    except MissingExtraError as error:
        pytest.skip(str(error))
    try:
        yield Addresses(addresses.grpc, addresses.http)
    finally:
        running.__exit__(None, None, None)


@pytest.fixture(params=["grpc", "http"])
def client(request, server):
    """NVIDIA's client for one protocol, and its module."""
    module = {"grpc": grpc, "http": http}[request.param]
    with module.InferenceServerClient(getattr(server, request.param)) as triton:
        yield triton, module


def infer_input(module, name, array):
    tensor = module.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor


def in_protocol(array):
    """Return an array in the shape that the protocol gives it: one number per row becomes a row of one."""
    return array[:, None] if array.ndim == 1 else array


def infer(client, name, arrays, **options):
    triton, module = client
    return triton.infer(name, [infer_input(module, key, value) for key, value in arrays.items()], **options)


@pytest.mark.parametrize("name", MODELS)
def test_nvidias_client_gets_the_golden_outputs(client, name):
    golden = Bundle.open(name).golden
    response = infer(client, name, golden.inputs, request_id="31-golden")
    assert (response.get_response()["id"] if client[1] is http else response.get_response().id) == "31-golden"
    for output, expected in golden.outputs.items():
        np.testing.assert_allclose(response.as_numpy(output), in_protocol(expected), rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_our_client_gets_the_scores_of_the_local_engine(server, name):
    golden = Bundle.open(name).golden
    rows = {key: np.repeat(value, 3, axis=0) for key, value in golden.inputs.items()}
    with (
        tamis.open(name) as local,
        tamis.open(name, engine="remote", remote=Remote((server.grpc,), timeout_s=20)) as remote,
    ):
        expected, result = local.run(**rows), remote.run(**rows)
    for key, value in expected.items():
        np.testing.assert_allclose(result[key], value, rtol=1e-5, atol=1e-6)


def test_metadata_and_configuration_of_a_model(client):
    triton, module = client
    metadata = triton.get_model_metadata("conv-vae")
    config = triton.get_model_config("conv-vae")
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("conv-vae", "1")
    assert not triton.is_model_ready("conv")
    if module is http:
        inputs = [(i["name"], i["datatype"], [int(n) for n in i["shape"]]) for i in metadata["inputs"]]
        max_batch, backend = config["max_batch_size"], config["backend"]
    else:
        inputs = [(i.name, i.datatype, [int(n) for n in i.shape]) for i in metadata.inputs]
        max_batch, backend = config.config.max_batch_size, config.config.backend
    assert inputs == [("jets", "FP32", [-1, 100, 3])]
    assert max_batch > 1
    assert backend == "python"


@pytest.mark.parametrize(
    ("model", "name", "array", "kind"),
    [
        ("conv", "jets", np.zeros((1, 100, 3), np.float32), "unknown model"),
        ("conv-vae", "jet", np.zeros((1, 100, 3), np.float32), "unknown input"),
        ("conv-vae", "jets", np.zeros((1, 100, 4), np.float32), "shape"),
        ("conv-vae", "jets", np.zeros((1, 100, 3), np.float64), "type"),
        ("conv-vae", "jets", np.zeros((1, 300), np.float32), "rank"),
    ],
)
def test_invalid_request_is_rejected_and_the_next_one_answered(client, model, name, array, kind):
    with pytest.raises(InferenceServerException) as error:
        infer(client, model, {name: array})
    rejected = {
        grpc: {"StatusCode.INVALID_ARGUMENT", "StatusCode.NOT_FOUND", "StatusCode.UNAVAILABLE"},
        http: {"400", "404"},
    }[client[1]]
    assert error.value.status() in rejected, kind
    golden = Bundle.open("conv-vae").golden
    scores = infer(client, "conv-vae", golden.inputs).as_numpy("score")
    np.testing.assert_allclose(scores, in_protocol(golden.outputs["score"]), rtol=2e-4)


def test_concurrent_requests_get_their_own_responses(server):
    jets = np.random.default_rng(5).gamma(1.0, 5.0, (40, 2, 100, 3)).astype(np.float32)
    with tamis.open("conv-vae") as local:
        expected = [local.run(jets=batch)["score"] for batch in jets]
    answers: queue.Queue = queue.Queue()
    with grpc.InferenceServerClient(server.grpc) as client:
        for number, batch in enumerate(jets):
            client.async_infer(
                "conv-vae",
                [infer_input(grpc, "jets", batch)],
                lambda result, error: answers.put((result, error)),
                request_id=str(number),
            )
        results = [answers.get(timeout=30) for _ in jets]
    assert not [error for _, error in results if error]
    assert sorted(int(result.get_response().id) for result, _ in results) == list(range(40))
    for result, _ in results:
        number = int(result.get_response().id)
        np.testing.assert_allclose(result.as_numpy("score"), in_protocol(expected[number]), rtol=1e-4)


def test_stream_continues_after_an_error(server):
    golden = Bundle.open("conv-vae").golden.inputs["jets"]
    answers: queue.Queue = queue.Queue()
    with grpc.InferenceServerClient(server.grpc) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for number in range(6):
            array = golden if number != 3 else golden[..., :2]
            client.async_stream_infer("conv-vae", [infer_input(grpc, "jets", array)], request_id=str(number))
        results = [answers.get(timeout=30) for _ in range(6)]
        client.stop_stream()
    assert len([error for _, error in results if error]) == 1
    answered = [result.get_response().id for result, error in results if not error]
    assert sorted(answered) == ["0", "1", "2", "4", "5"]


def test_tensors_in_shared_memory(client):
    triton, module = client
    golden = Bundle.open("conv-vae").golden
    jets, score = golden.inputs["jets"], in_protocol(golden.outputs["score"]).astype(np.float32)
    key = f"/tamis-{os.getpid()}"  # other processes run this test at the same time
    region = shared_memory.create_shared_memory_region("jets", f"{key}-in", jets.nbytes)
    answers = shared_memory.create_shared_memory_region("score", f"{key}-out", score.nbytes)
    try:
        shared_memory.set_shared_memory_region(region, [jets])
        triton.register_system_shared_memory("jets", f"{key}-in", jets.nbytes)
        triton.register_system_shared_memory("score", f"{key}-out", score.nbytes)
        tensor = module.InferInput("jets", jets.shape, "FP32")
        tensor.set_shared_memory("jets", jets.nbytes)
        output = module.InferRequestedOutput("score")
        output.set_shared_memory("score", score.nbytes)
        triton.infer("conv-vae", [tensor], outputs=[output])
        written = shared_memory.get_contents_as_numpy(answers, score.dtype, score.shape)
        np.testing.assert_allclose(written, score, rtol=2e-4)
        unregister_all(triton)
        with pytest.raises(InferenceServerException):
            triton.infer("conv-vae", [tensor])
    finally:
        shared_memory.destroy_shared_memory_region(region)
        shared_memory.destroy_shared_memory_region(answers)


def test_an_output_in_shared_memory_beside_a_plain_one(client):
    """Clients find the data of the plain output by counting: the shared one has an empty entry and no parameters."""
    triton, module = client
    golden = Bundle.open("topology-both").golden
    score = in_protocol(golden.outputs["score"]).astype(np.float32)
    key = f"/tamis-{os.getpid()}-beside"
    region = shared_memory.create_shared_memory_region("beside", key, score.nbytes)
    try:
        triton.register_system_shared_memory("beside", key, score.nbytes)
        shared, plain = module.InferRequestedOutput("score"), module.InferRequestedOutput("probabilities")
        shared.set_shared_memory("beside", score.nbytes)
        for outputs in ([shared, plain], [plain, shared]):
            answer = infer(client, "topology-both", golden.inputs, outputs=outputs)
            written = shared_memory.get_contents_as_numpy(region, score.dtype, score.shape)
            np.testing.assert_allclose(written, score, rtol=2e-4, atol=1e-5)
            found = answer.as_numpy("probabilities")
            np.testing.assert_allclose(found, golden.outputs["probabilities"], rtol=2e-4, atol=1e-5)
            described = answer.get_output("score")
            if module is http:
                assert "parameters" not in described
            else:
                assert not described.parameters
                assert sorted(map(len, answer.get_response().raw_output_contents)) == [0, found.nbytes]
        unregister_all(triton)
    finally:
        shared_memory.destroy_shared_memory_region(region)


def unregister_all(triton):
    """Unregister all regions; NVIDIA Triton releases a region only a moment after it has answered, and rejects it until then."""
    for attempt in range(100):
        try:
            triton.unregister_system_shared_memory()
        except InferenceServerException:
            if attempt == 99:
                raise
            time.sleep(0.05)
        else:
            return


def test_model_is_unloaded_and_loaded_by_request(client):
    triton, module = client
    triton.unload_model("graph-vae")
    for _ in range(200):
        if not triton.is_model_ready("graph-vae"):
            break
    with pytest.raises(InferenceServerException):
        infer(client, "graph-vae", Bundle.open("graph-vae").golden.inputs)
    triton.load_model("graph-vae")
    assert triton.is_model_ready("graph-vae")
    index = triton.get_model_repository_index()
    names = [entry["name"] for entry in index] if module is http else [entry.name for entry in index.models]
    assert set(MODELS) <= set(names)
    with pytest.raises(InferenceServerException):
        triton.load_model("nothing-like-it")


def test_statistics_count_requests(client):
    triton, module = client

    def inference_count():
        statistics = triton.get_inference_statistics("topology-both")
        model = statistics["model_stats"][0] if module is http else statistics.model_stats[0]
        return int(model["inference_count"] if module is http else model.inference_count)

    before = inference_count()
    inputs = Bundle.open("topology-both").golden.inputs
    rows = len(next(iter(inputs.values())))
    for _ in range(3):
        infer(client, "topology-both", inputs)
    until = time.monotonic() + 10
    while inference_count() - before < 3 * rows and time.monotonic() < until:
        time.sleep(0.01)  # Triton counts a request after it has sent the response
    assert inference_count() - before == 3 * rows


@pytest.fixture
def real_triton():
    if find_spec("pytriton") is None:
        pytest.skip("nvidia-pytriton is not installed")


@pytest.mark.usefixtures("real_triton")
def test_export_is_verified_by_triton(tmp_path):
    arguments = ["export", "topology-gru", "--to", "triton", "-o", str(tmp_path), "--verify"]
    done = subprocess.run(
        [sys.executable, "-m", "tamis", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "verified: NVIDIA Triton reproduces the golden outputs of topology-gru" in done.stderr
    (tmp_path / "topology-gru" / "1" / "model.py").write_text("raise RuntimeError('a broken export')")
    with pytest.raises(TamisError, match=r"failed to load 'topology-gru'.*a broken export"):
        verify_export(Bundle.open("topology-gru"), tmp_path / "topology-gru")


def test_configuration_has_the_preferred_batch_size_that_clients_split_arrays_by(client):
    triton, module = client  # as in coffea's wrapper
    config = triton.get_model_config("conv-vae")
    if module is http:
        sizes = config["dynamic_batching"]["preferred_batch_size"]
    else:
        sizes = list(config.config.dynamic_batching.preferred_batch_size)
    assert len(sizes) == 1
    assert 1 <= sizes[0] <= 4096
    rows = np.resize(Bundle.open("conv-vae").golden.inputs["jets"], (sizes[0], 100, 3))
    assert infer(client, "conv-vae", {"jets": rows}).as_numpy("score").shape == (sizes[0], 1)
