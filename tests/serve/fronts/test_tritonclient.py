"""Triton's own HTTP client."""

from pathlib import Path

import numpy as np
import pytest

import tamis.zoo
from tamis.bundle import Bundle
from tamis.serve.protocol.tensors import DATATYPES

client = pytest.importorskip("tritonclient.http")

BUNDLE = Path(tamis.zoo.__file__).parent / "bundles" / "conv-vae.tamis"


@pytest.fixture(scope="module")
def triton(serve):
    with (
        serve(bundles=[BUNDLE], uvloop=True) as served,
        client.InferenceServerClient(f"127.0.0.1:{served.port}") as triton_client,
    ):
        yield triton_client
        triton_client.close()
        assert served.errors == []


def infer_input(x, datatype, binary=True):
    tensor = client.InferInput("x", x.shape, datatype)
    tensor.set_data_from_numpy(x, binary_data=binary)
    return tensor


def test_metadata_and_model_control(triton):
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("null")
    assert not triton.is_model_ready("nul")
    assert triton.get_server_metadata()["name"] == "tamis"
    assert triton.get_model_metadata("conv-vae")["inputs"]
    assert triton.get_model_config("null")["max_batch_size"] == 8
    assert triton.get_inference_statistics("null")["model_stats"][0]["name"] == "null"
    assert triton.get_inference_statistics()["model_stats"]
    triton.load_model("one", config="{}")
    assert [entry["name"] for entry in triton.get_model_repository_index() if entry["state"] == "READY"] == [
        "one"
    ]
    triton.unload_model("one")
    with pytest.raises(client.InferenceServerException, match="absent"):
        triton.load_model("absent")


@pytest.mark.parametrize(
    ("datatype", "binary_in", "binary_out"),
    [
        (name, binary_in, binary_out)
        for name in DATATYPES
        for binary_in in (True, False)
        for binary_out in (True, False)
        if name != "BF16" and (name != "FP16" or (binary_in and binary_out))  # these types have no JSON form
    ],
)
def test_every_data_type_as_json_and_binary(triton, values, datatype, binary_in, binary_out):
    x = values(datatype)
    if datatype == "BYTES" and not binary_in:
        x = np.array([["a", "b", "c"], ["d", "µ", ""]], object)
    outputs = client.InferRequestedOutput("y", binary_data=binary_out)
    result = triton.infer(
        f"echo-{datatype.lower()}", [infer_input(x, datatype, binary_in)], outputs=[outputs]
    ).as_numpy("y")
    expected = (
        [v if isinstance(v, bytes) else v.encode() for v in x.ravel()] if datatype == "BYTES" else x.ravel()
    )
    flat = (
        [v if isinstance(v, bytes) else v.encode() for v in result.ravel()]
        if datatype == "BYTES"
        else result.ravel()
    )
    assert result.shape == x.shape
    assert list(flat) == list(expected)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compressed_requests_and_responses(triton, coding):
    x = np.zeros((2, 5000), np.float32)
    result = triton.infer(
        "null",
        [infer_input(x, "FP32")],
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )
    np.testing.assert_array_equal(result.as_numpy("y"), x)


def test_request_id_priority_and_classification(triton):
    x = np.array([[0.25, 0.5]], np.float32)
    outputs = [client.InferRequestedOutput("y", class_count=1)]
    result = triton.infer(
        "null", [infer_input(x, "FP32")], outputs=outputs, request_id="seven", priority=1, timeout=10**7
    )
    assert result.get_response()["id"] == "seven"
    assert result.as_numpy("y").tolist() == [[b"0.500000:1:dog"]]


def test_concurrent_requests(triton):
    arrays = [np.full((1, 3), i, np.float32) for i in range(30)]
    waiting = [triton.async_infer("null", [infer_input(x, "FP32")]) for x in arrays]
    for x, result in zip(arrays, waiting, strict=True):
        np.testing.assert_array_equal(result.get_result().as_numpy("y"), x)


def test_errors_reach_the_client(triton):
    x = np.zeros((1, 3), np.float32)
    with pytest.raises(client.InferenceServerException, match="the request has int32") as caught:
        triton.infer("null", [infer_input(x.astype(np.int32), "INT32")])
    assert caught.value.status() == "400"


def test_shipped_bundle_returns_its_golden_outputs(triton):
    golden, signature = Bundle.open(BUNDLE).golden, Bundle.open(BUNDLE).manifest.signature
    inputs = []
    for spec in signature.inputs:
        array = np.asarray(golden.inputs[spec.name])
        inputs.append(client.InferInput(spec.name, array.shape, "FP32"))
        inputs[-1].set_data_from_numpy(array)
    result = triton.infer("conv-vae", inputs)
    for spec in signature.outputs:
        np.testing.assert_allclose(
            result.as_numpy(spec.name).reshape(np.shape(golden.outputs[spec.name])),
            golden.outputs[spec.name],
            rtol=1e-3,
            atol=1e-4,
        )
