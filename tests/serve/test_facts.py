"""How models run, and why they do not: on the screen, in the log, in metadata and configuration, in the index."""

from __future__ import annotations

import json
from http.client import HTTPConnection

import onnx
import pytest
import tritonclient.grpc as grpc
import tritonclient.http as http

import tamis
from tamis.bundle import FIRMWARE_FILE, Bundle
from tamis.engines import Remote

CONFIG = """
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "labels.txt" } ]
dynamic_batching { }
response_cache { enable: true }
"""
MEAN = """m (float[N, 3] x) => (float[N, 3] y) {
    axes = Constant <value_ints = [0]> ()
    mean = ReduceMean <axes = [0]> (x)
    y = Sub (x, mean)
}"""


@pytest.fixture(scope="module")
def server(start_for_all, tmp_path_factory, parse_model):
    """A server of a model with settings that it cannot use, and of one whose file is missing; `log` is its log."""
    repository = tmp_path_factory.mktemp("models")
    for name in ("coupled", "missing"):
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "config.pbtxt").write_text('backend: "onnxruntime"' + CONFIG)
    onnx.save(parse_model(MEAN), repository / "coupled" / "1" / "model.onnx")
    log = tmp_path_factory.mktemp("log") / "requests.jsonl"
    started = start_for_all(
        repository, "facile", "--engine", "native", "--server-name", "triton", "--log", log
    )
    started.missing = f"there is no file {repository / 'missing' / '1' / 'model.onnx'}; copy it there"
    started.log, started.repository = log, repository
    return started


EXPECTED = {
    "ignored": "response_cache has no effect: answers are not cached",
    "off": (
        "label_filename of output 'y': there is no 'labels.txt' in coupled, so its classes have no labels; "
        "dynamic batching: the outputs of a row depend on the other rows of a batch, or batches fail"
    ),
    "verified": "yes: agrees with the float64 reference on 16 random events",
}


def test_screen(server):
    lines = server.output
    ready = next(i for i, line in enumerate(lines) if line.startswith("READY: coupled 1: native"))
    assert lines[ready + 1 : ready + 3] == [f"{name}: {EXPECTED[name]}" for name in ("ignored", "off")]
    assert any(line.startswith(f"UNAVAILABLE: missing: {server.missing}") for line in lines)
    assert any(line.startswith("READY: facile 1: native") for line in lines)


def test_configuration_and_metadata_of_both_protocols(server):
    with grpc.InferenceServerClient(server.grpc) as client:
        config = client.get_model_config("coupled").config
        assert {name: config.parameters[f"tamis.{name}"].string_value for name in EXPECTED} == EXPECTED
        assert client.get_model_config("coupled", as_json=True)["config"]["parameters"]["tamis.engine"]
        assert client.get_model_metadata("coupled").name == "coupled"
        assert client.get_server_metadata().name == "triton"
        bundle = client.get_model_config("facile").config.parameters
        assert bundle["tamis.verified"].string_value.startswith("yes: reproduces the golden outputs")
    with http.InferenceServerClient(server.http) as client:
        config = client.get_model_config("coupled")
        assert {name: config["parameters"][f"tamis.{name}"]["string_value"] for name in EXPECTED} == EXPECTED
        metadata = client.get_model_metadata("coupled")
        assert {name: metadata["parameters"][name] for name in EXPECTED} == EXPECTED
        assert client.get_server_metadata()["name"] == "triton"


def test_reason_of_a_missing_file_is_in_the_index_and_at_the_models_endpoint(server):
    with grpc.InferenceServerClient(server.grpc) as client:
        index = {model.name: model.reason for model in client.get_model_repository_index().models}
        assert not client.is_model_ready("missing")
    assert index["missing"].startswith(server.missing)
    host, _, port = server.http.rpartition(":")
    connection = HTTPConnection(host, int(port), timeout=20)
    connection.request("GET", "/v2/models/missing/ready")
    response = connection.getresponse()
    assert (response.status, server.missing in json.loads(response.read())["error"]) == (400, True)
    connection.close()


def test_log(server):
    with grpc.InferenceServerClient(server.grpc) as client:
        client.load_model("coupled")
        client.unload_model("facile")
    assert server.end() == 0
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    loaded = [line for line in lines if line["event"] == "loaded" and line["model"] == "coupled"]
    assert len(loaded) == 2
    assert {name: loaded[0][name] for name in EXPECTED} == EXPECTED
    (failed,) = [line for line in lines if line["event"] == "failed to load"]
    assert failed["model"] == "missing"
    assert failed["why"].startswith(server.missing)
    assert any(line["event"] == "unloaded" and line["model"] == "facile" for line in lines)


def test_the_latency_of_emulated_hardware_is_told_apart(start_for_all):
    pytest.importorskip("alkaid")
    served = start_for_all("l1-anomaly", "--engine", "firmware")
    bundle = Bundle.open("l1-anomaly")
    told = f"{json.loads(bundle.text(FIRMWARE_FILE))['latency_cycles']} cycles at 240 MHz"
    assert any(line.startswith("modelled: the hardware takes") and told in line for line in served.output)
    with grpc.InferenceServerClient(served.grpc) as client:
        facts = client.get_model_config("l1-anomaly").config.parameters
        assert told in facts["tamis.modelled"].string_value
    with tamis.open("l1-anomaly", "remote", remote=Remote((f"grpc://{served.grpc}",))) as session:
        assert session.verified  # the same bits as in the golden outputs, through the server
