"""One suite on two servers, this package's and NVIDIA Triton itself, with two clients, this package's and NVIDIA's.

Both serve the same repository: bundles as `tamis export --to triton` writes them.
"""

from __future__ import annotations

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


class Place(NamedTuple):
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
        yield Place(started.grpc, started.http)
        assert started.end() == 0
        return
    try:
        running = triton_server(repository, explicit=True, environment={"OMP_NUM_THREADS": "1"})
        place = running.__enter__()
    except MissingExtraError as error:
        pytest.skip(str(error))
    try:
        yield Place(place.grpc, place.http)
    finally:
        running.__exit__(None, None, None)


@pytest.fixture(params=["grpc", "http"])
def client(request, server):
    """Return NVIDIA's client of one protocol, and its module."""
    module = {"grpc": grpc, "http": http}[request.param]
    with module.InferenceServerClient(getattr(server, request.param)) as found:
        yield found, module


def given(module, name, array):
    made = module.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
    made.set_data_from_numpy(array)
    return made


def told(array):
    """Return what the protocol makes of a number per row: a row of one number."""
    return array[:, None] if array.ndim == 1 else array


def ask(client, name, arrays, **options):
    found, module = client
    return found.infer(name, [given(module, key, value) for key, value in arrays.items()], **options)


@pytest.mark.parametrize("name", MODELS)
def test_nvidias_client_gets_the_golden_outputs(client, name):
    golden = Bundle.open(name).golden
    answer = ask(client, name, golden.inputs, request_id="31-golden")
    assert (answer.get_response()["id"] if client[1] is http else answer.get_response().id) == "31-golden"
    for output, expected in golden.outputs.items():
        np.testing.assert_allclose(answer.as_numpy(output), told(expected), rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_our_client_gets_what_the_local_engine_gives(server, name):
    golden = Bundle.open(name).golden
    rows = {key: np.repeat(value, 3, axis=0) for key, value in golden.inputs.items()}
    with (
        tamis.open(name) as local,
        tamis.open(name, engine="remote", remote=Remote((server.grpc,), timeout_s=20)) as remote,
    ):
        expected, found = local.run(**rows), remote.run(**rows)
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-6)


def test_what_is_told_of_a_model_is_the_same(client):
    found, module = client
    metadata = found.get_model_metadata("conv-vae")
    config = found.get_model_config("conv-vae")
    assert found.is_server_live()
    assert found.is_server_ready()
    assert found.is_model_ready("conv-vae", "1")
    assert not found.is_model_ready("conv")
    if module is http:
        inputs = [(i["name"], i["datatype"], [int(n) for n in i["shape"]]) for i in metadata["inputs"]]
        most, backend = config["max_batch_size"], config["backend"]
    else:
        inputs = [(i.name, i.datatype, [int(n) for n in i.shape]) for i in metadata.inputs]
        most, backend = config.config.max_batch_size, config.config.backend
    assert inputs == [("jets", "FP32", [-1, 100, 3])]
    assert most > 1
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
def test_what_is_wrong_is_refused_and_the_next_request_is_answered(client, model, name, array, kind):
    with pytest.raises(InferenceServerException) as error:
        ask(client, model, {name: array})
    refused = {
        grpc: {"StatusCode.INVALID_ARGUMENT", "StatusCode.NOT_FOUND", "StatusCode.UNAVAILABLE"},
        http: {"400", "404"},
    }[client[1]]
    assert error.value.status() in refused, kind
    golden = Bundle.open("conv-vae").golden
    scores = ask(client, "conv-vae", golden.inputs).as_numpy("score")
    np.testing.assert_allclose(scores, told(golden.outputs["score"]), rtol=2e-4)


def test_requests_in_flight_get_their_own_answers(server):
    jets = np.random.default_rng(5).gamma(1.0, 5.0, (40, 2, 100, 3)).astype(np.float32)
    with tamis.open("conv-vae") as local:
        expected = [local.run(jets=one)["score"] for one in jets]
    answers: queue.Queue = queue.Queue()
    with grpc.InferenceServerClient(server.grpc) as client:
        for number, one in enumerate(jets):
            client.async_infer(
                "conv-vae",
                [given(grpc, "jets", one)],
                lambda result, error: answers.put((result, error)),
                request_id=str(number),
            )
        found = [answers.get(timeout=30) for _ in jets]
    assert not [error for _, error in found if error]
    assert sorted(int(result.get_response().id) for result, _ in found) == list(range(40))
    for result, _ in found:
        number = int(result.get_response().id)
        np.testing.assert_allclose(result.as_numpy("score"), told(expected[number]), rtol=1e-4)


def test_a_stream_answers_in_order_and_goes_on_after_a_refusal(server):
    golden = Bundle.open("conv-vae").golden.inputs["jets"]
    answers: queue.Queue = queue.Queue()
    with grpc.InferenceServerClient(server.grpc) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for number in range(6):
            array = golden if number != 3 else golden[..., :2]
            client.async_stream_infer("conv-vae", [given(grpc, "jets", array)], request_id=str(number))
        found = [answers.get(timeout=30) for _ in range(6)]
        client.stop_stream()
    assert len([error for _, error in found if error]) == 1
    answered = [result.get_response().id for result, error in found if not error]
    assert sorted(answered) == ["0", "1", "2", "4", "5"]


def test_arrays_in_shared_memory(client):
    found, module = client
    golden = Bundle.open("conv-vae").golden
    jets, score = golden.inputs["jets"], told(golden.outputs["score"]).astype(np.float32)
    region = shared_memory.create_shared_memory_region("jets", "/tamis-both-in", jets.nbytes)
    answers = shared_memory.create_shared_memory_region("score", "/tamis-both-out", score.nbytes)
    try:
        shared_memory.set_shared_memory_region(region, [jets])
        found.register_system_shared_memory("jets", "/tamis-both-in", jets.nbytes)
        found.register_system_shared_memory("score", "/tamis-both-out", score.nbytes)
        inside = module.InferInput("jets", jets.shape, "FP32")
        inside.set_shared_memory("jets", jets.nbytes)
        outside = module.InferRequestedOutput("score")
        outside.set_shared_memory("score", score.nbytes)
        found.infer("conv-vae", [inside], outputs=[outside])
        written = shared_memory.get_contents_as_numpy(answers, score.dtype, score.shape)
        np.testing.assert_allclose(written, score, rtol=2e-4)
        found.unregister_system_shared_memory()
        with pytest.raises(InferenceServerException):
            found.infer("conv-vae", [inside])
    finally:
        shared_memory.destroy_shared_memory_region(region)
        shared_memory.destroy_shared_memory_region(answers)


def test_a_model_is_unloaded_and_loaded_by_request(client):
    found, module = client
    found.unload_model("graph-vae")
    for _ in range(200):
        if not found.is_model_ready("graph-vae"):
            break
    with pytest.raises(InferenceServerException):
        ask(client, "graph-vae", Bundle.open("graph-vae").golden.inputs)
    found.load_model("graph-vae")
    assert found.is_model_ready("graph-vae")
    index = found.get_model_repository_index()
    names = [one["name"] for one in index] if module is http else [one.name for one in index.models]
    assert set(MODELS) <= set(names)
    with pytest.raises(InferenceServerException):
        found.load_model("nothing-like-it")


def test_statistics_count_requests(client):
    found, module = client

    def counted():
        counts = found.get_inference_statistics("topology-both")
        one = counts["model_stats"][0] if module is http else counts.model_stats[0]
        return int(one["inference_count"] if module is http else one.inference_count)

    before = counted()
    inputs = Bundle.open("topology-both").golden.inputs
    rows = len(next(iter(inputs.values())))
    for _ in range(3):
        ask(client, "topology-both", inputs)
    until = time.monotonic() + 10
    while counted() - before < 3 * rows and time.monotonic() < until:
        time.sleep(0.01)  # Triton counts after it has answered
    assert counted() - before == 3 * rows


@pytest.fixture
def real_triton():
    if find_spec("pytriton") is None:
        pytest.skip("nvidia-pytriton is not installed")


@pytest.mark.usefixtures("real_triton")
def test_an_export_is_verified_by_triton_itself(tmp_path):
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


def test_clients_that_cut_arrays_by_the_preferred_size_find_one(client):
    found, module = client  # as coffea's wrapper does
    config = found.get_model_config("conv-vae")
    if module is http:
        sizes = config["dynamic_batching"]["preferred_batch_size"]
    else:
        sizes = list(config.config.dynamic_batching.preferred_batch_size)
    assert len(sizes) == 1
    assert 1 <= sizes[0] <= 4096
    rows = np.resize(Bundle.open("conv-vae").golden.inputs["jets"], (sizes[0], 100, 3))
    assert ask(client, "conv-vae", {"jets": rows}).as_numpy("score").shape == (sizes[0], 1)
