"""A configuration and files sent with a load request, by NVIDIA's clients over HTTP and gRPC."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import tritonclient.grpc as grpc
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

X = np.arange(6, dtype=np.float32).reshape(2, 3)
CONFIG = {"backend": "onnxruntime", "max_batch_size": 8}


def scale(factor):
    return (
        f"s (float[N, 3] x) => (float[N, 3] y) {{ f = Constant <value_float = {factor}> () y = Mul (x, f) }}"
    )


@pytest.fixture(scope="module")
def server(start_for_all, tmp_path_factory, parse_model):
    """A server of one model with two versions, of which the newest is served."""
    repository = tmp_path_factory.mktemp("models")
    for version in (1, 2):
        path = repository / "scale" / str(version) / "model.onnx"
        path.parent.mkdir(parents=True)
        onnx.save(parse_model(scale(float(version))), path)
    return start_for_all(repository, "facile")


@pytest.fixture(params=[grpc, http], ids=["grpc", "http"])
def client(request, server):
    """A client of both protocols; the model is as in the repository before and after the test."""
    address = server.grpc if request.param is grpc else server.http
    with request.param.InferenceServerClient(address) as opened:
        opened.module = request.param
        opened.load_model("scale")
        yield opened
        opened.load_model("scale")


def infer(client, model="scale", version=""):
    tensor = client.module.InferInput("x", X.shape, "FP32")
    tensor.set_data_from_numpy(X)
    return client.infer(model, [tensor], model_version=version).as_numpy("y").tolist()


def limit(client, name="scale"):
    config = client.get_model_config(name)
    return config["max_batch_size"] if client.module is http else config.config.max_batch_size


def test_configuration_replaces_the_one_of_the_repository_for_this_load(client):
    assert infer(client) == (2 * X).tolist()
    config = {**CONFIG, "max_batch_size": "2", "version_policy": {"specific": {"versions": [1]}}}
    client.load_model("scale", config=json.dumps(config))
    assert limit(client) == 2
    assert infer(client) == X.tolist()
    assert client.is_model_ready("scale", "1")
    assert not client.is_model_ready("scale", "2")
    client.load_model("scale")
    assert infer(client) == (2 * X).tolist()


def test_answered_configuration_can_be_sent_back(client):
    config = client.get_model_config("scale", **({"as_json": True} if client.module is grpc else {}))
    client.load_model("scale", config=json.dumps(config.get("config", config)))
    assert infer(client) == (2 * X).tolist()


def test_files_replace_the_folder_and_can_add_a_model(client, parse_model):
    files = {"file:1/model.onnx": parse_model(scale(5.0)).SerializeToString()}
    client.load_model("scale", config=json.dumps(CONFIG), files=files)
    assert infer(client) == (5 * X).tolist()
    name = f"sent-{client.module.__name__.rpartition('.')[2]}"
    files = {f"file:{version}/model.onnx": files["file:1/model.onnx"] for version in (1, 3)}
    client.load_model(name, config=json.dumps(CONFIG), files=files)
    assert infer(client, name, "3") == (5 * X).tolist()
    client.unload_model(name)
    assert not client.is_model_ready(name)


def test_what_was_sent_passes_the_gate_and_the_loaded_model_stays(client):
    with pytest.raises(
        InferenceServerException, match=r"failed to load 'scale': 1/model\.onnx is not an ONNX model"
    ):
        client.load_model("scale", config=json.dumps(CONFIG), files={"file:1/model.onnx": b"nothing"})
    assert infer(client) == (2 * X).tolist()


@pytest.mark.parametrize(
    ("config", "files", "message"),
    [
        ("{", None, "the configuration in the request: not a well-formed configuration"),
        ("[]", None, "the configuration in the request: '[]' is not a JSON object"),
        ('{"max_batch_sise": 1}', None, "has no field 'max_batch_sise'; did you mean 'max_batch_size'"),
        ('{"max_batch_size": -1}', None, "the configuration in the request: field max_batch_size is -1"),
        ('{"sequence_batching": {}}', None, "models that keep a state between requests are not served"),
        (None, {"file:1/model.onnx": b"x"}, "need the parameter config"),
        ("{}", {"file:../model.onnx": b"x"}, "the path has to stay within the model's folder"),
        ("{}", {"file:/model.onnx": b"x"}, "the path has to stay within the model's folder"),
        ("{}", {f"file:{'A' * 256}": b"x"}, "failed to load 'scale': Invalid file path 'AAAA"),
        ("{}", {"file:model.onnx": b"x"}, "the request has no version; move model.onnx to 1/model.onnx"),
        ("{}", {"folder:1/model.onnx": b"x"}, "the parameter 'folder:1/model.onnx' is not known"),
    ],
)
def test_wrong_overrides_are_told(client, config, files, message):
    with pytest.raises(InferenceServerException) as caught:
        client.load_model("scale", config=config, files=files)
    assert message in str(caught.value)
    assert infer(client) == (2 * X).tolist()


def test_wrong_override_of_an_unknown_model_leaves_the_server_ready(client):
    with pytest.raises(InferenceServerException, match="failed to load 'stranger'"):
        client.load_model("stranger", config="{}", files={"file:1/model.onnx": b"x"})
    assert client.is_server_ready()
    assert not client.is_model_ready("stranger")


def test_torchscript_is_not_taken_from_a_request(client):
    tensors = {
        kind: [{"name": f"{kind}__0", "data_type": "TYPE_FP32", "dims": [3]}] for kind in ("input", "output")
    }
    with pytest.raises(
        InferenceServerException, match="TorchScript files are programs, which the server takes"
    ):
        client.load_model(
            "stranger", config=json.dumps({"backend": "pytorch", **tensors}), files={"file:1/model.pt": b"x"}
        )


def test_bundle_has_no_configuration_to_override(client):
    client.load_model("facile", config="{}")
    with pytest.raises(
        InferenceServerException, match=r"is a bundle, which has no config\.pbtxt to override"
    ):
        client.load_model("facile", config=json.dumps(CONFIG))
