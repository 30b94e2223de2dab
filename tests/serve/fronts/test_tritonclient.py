"""Triton's own client for HTTP."""

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
        client.InferenceServerClient(f"127.0.0.1:{served.port}") as found,
    ):
        yield found
        found.close()
        assert served.errors == []


def given(x, datatype, binary=True):
    found = client.InferInput("x", x.shape, datatype)
    found.set_data_from_numpy(x, binary_data=binary)
    return found


def test_it_finds_everything(triton):
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
    assert [one["name"] for one in triton.get_model_repository_index() if one["state"] == "READY"] == ["one"]
    triton.unload_model("one")
    with pytest.raises(client.InferenceServerException, match="absent"):
        triton.load_model("absent")


@pytest.mark.parametrize(
    ("datatype", "sent", "got"),
    [
        (name, sent, got)
        for name in DATATYPES
        for sent in (True, False)
        for got in (True, False)
        if name != "BF16" and (name != "FP16" or (sent and got))  # JSON cannot hold it
    ],
)
def test_every_type_both_ways(triton, values, datatype, sent, got):
    x = values(datatype)
    if datatype == "BYTES" and not sent:
        x = np.array([["a", "b", "c"], ["d", "µ", ""]], object)
    wanted = client.InferRequestedOutput("y", binary_data=got)
    found = triton.infer(f"echo-{datatype.lower()}", [given(x, datatype, sent)], outputs=[wanted]).as_numpy(
        "y"
    )
    expected = (
        [v if isinstance(v, bytes) else v.encode() for v in x.ravel()] if datatype == "BYTES" else x.ravel()
    )
    flat = (
        [v if isinstance(v, bytes) else v.encode() for v in found.ravel()]
        if datatype == "BYTES"
        else found.ravel()
    )
    assert found.shape == x.shape
    assert list(flat) == list(expected)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_packed_both_ways(triton, coding):
    x = np.zeros((2, 5000), np.float32)
    found = triton.infer(
        "null",
        [given(x, "FP32")],
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )
    np.testing.assert_array_equal(found.as_numpy("y"), x)


def test_ids_priorities_and_classes(triton):
    x = np.array([[0.25, 0.5]], np.float32)
    wanted = [client.InferRequestedOutput("y", class_count=1)]
    found = triton.infer(
        "null", [given(x, "FP32")], outputs=wanted, request_id="seven", priority=1, timeout=10**7
    )
    assert found.get_response()["id"] == "seven"
    assert found.as_numpy("y").tolist() == [[b"0.500000:1:dog"]]


def test_many_at_once(triton):
    arrays = [np.full((1, 3), i, np.float32) for i in range(30)]
    waiting = [triton.async_infer("null", [given(x, "FP32")]) for x in arrays]
    for x, one in zip(arrays, waiting, strict=True):
        np.testing.assert_array_equal(one.get_result().as_numpy("y"), x)


def test_errors_reach_the_user(triton):
    x = np.zeros((1, 3), np.float32)
    with pytest.raises(client.InferenceServerException, match="the request has int32") as found:
        triton.infer("null", [given(x.astype(np.int32), "INT32")])
    assert found.value.status() == "400"


def test_a_shipped_bundle_answers_what_its_golden_outputs_say(triton):
    golden, signature = Bundle.open(BUNDLE).golden, Bundle.open(BUNDLE).manifest.signature
    inputs = []
    for spec in signature.inputs:
        array = np.asarray(golden.inputs[spec.name])
        inputs.append(client.InferInput(spec.name, array.shape, "FP32"))
        inputs[-1].set_data_from_numpy(array)
    found = triton.infer("conv-vae", inputs)
    for spec in signature.outputs:
        np.testing.assert_allclose(
            found.as_numpy(spec.name).reshape(np.shape(golden.outputs[spec.name])),
            golden.outputs[spec.name],
            rtol=1e-3,
            atol=1e-4,
        )
