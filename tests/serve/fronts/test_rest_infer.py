"""Inference over REST: JSON and binary data, shared memory, classification, compressed bodies."""

import gzip
import json
import re
import zlib

import numpy as np
import pytest

from tamis.serve.protocol.tensors import DATATYPES, from_raw, to_raw

INFER = "/v2/models/{}/infer"


def one_input(array, datatype, **more):
    data = [value.decode() for value in array.ravel()] if datatype == "BYTES" else array.tolist()
    return {"name": "x", "shape": list(array.shape), "datatype": datatype, "data": data, **more}


def with_bytes(array, datatype, **document):
    raw = bytes(to_raw(array))
    tensor = {"name": "x", "shape": list(array.shape), "datatype": datatype}
    tensor["parameters"] = {"binary_data_size": len(raw)}
    head = json.dumps({"inputs": [tensor], **document}).encode()
    return head + raw, {"Inference-Header-Content-Length": str(len(head))}


def split(response):
    size = int(response.headers["inference-header-content-length"])
    return json.loads(response.raw[:size]), response.raw[size:]


@pytest.mark.parametrize("datatype", [name for name in DATATYPES if name not in {"FP16", "BF16", "BYTES"}])
def test_every_data_type_as_json(served, values, datatype):
    x = values(datatype)
    response = served.request(
        "POST", INFER.format(f"echo-{datatype.lower()}"), {"inputs": [one_input(x, datatype)]}
    )
    (output,) = response.json["outputs"]
    assert (response.status, output["shape"], output["datatype"]) == (200, [2, 3], datatype)
    np.testing.assert_array_equal(np.array(output["data"], DATATYPES[datatype]), x.ravel())


@pytest.mark.parametrize("datatype", list(DATATYPES))
def test_every_data_type_as_binary_data(served, values, datatype):
    x = values(datatype)
    body, headers = with_bytes(x, datatype, parameters={"binary_data_output": True})
    for _ in range(2):  # the second time the parsed header comes from the cache
        response = served.request("POST", INFER.format(f"echo-{datatype.lower()}"), body, headers)
        head, raw = split(response)
        (output,) = head["outputs"]
        assert output["parameters"] == {"binary_data_size": len(raw)}
        np.testing.assert_array_equal(from_raw(raw, datatype, output["shape"], "y"), x)


def test_strings_as_json(served):
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "BYTES", "data": ["a", "µ"]}]}
    assert served.request("POST", INFER.format("echo-bytes"), body).json["outputs"][0]["data"] == ["a", "µ"]


def test_response_names_model_version_and_request(served):
    x = np.ones((1, 1), np.float32)
    body = {"id": "a \ud800 µ", "inputs": [one_input(x, "FP32")], "outputs": [{"name": "y"}]}
    response = served.request("POST", "/v2/models/null/versions/1/infer", body)
    assert response.json == {
        "model_name": "null",
        "model_version": "1",
        "id": "a \ud800 µ",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}],
    }


def test_nan_and_infinity_are_written_as_triton_writes_them(served):
    x = np.array([[np.nan, np.inf, -np.inf]], np.float32)
    body, headers = with_bytes(x, "FP32")
    response = served.request("POST", INFER.format("null"), body, headers)
    assert b'"data":[NaN,Infinity,-Infinity]' in response.raw


def test_nan_and_infinity_in_a_request_are_read_as_triton_reads_them(served):
    body = b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[NaN,Infinity,-Infinity,1]}]}'
    response = served.request("POST", INFER.format("null"), body)
    assert b'"data":[NaN,Infinity,-Infinity,1.0]' in response.raw
    nested = body.replace(b"[NaN,Infinity,-Infinity,1]", b"[[NaN,Infinity,-Infinity,1]]")
    assert served.request("POST", INFER.format("null"), nested).raw == response.raw


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1e39", "1" + 400 * "0"])
def test_numbers_beyond_the_type_are_rejected(served, number):
    body = b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[NaN,%s]}]}' % number.encode()
    response = served.request("POST", INFER.format("null"), body)
    assert response.status == 400
    assert "value 1 of inputs[0].data is" in response.json["error"]
    assert "out of range for FP32" in response.json["error"]


def test_binary_data_can_be_disabled_for_an_output(served):
    x = np.ones((1, 2), np.float32)
    body, headers = with_bytes(x, "FP32", outputs=[{"name": "y", "parameters": {"binary_data": False}}])
    response = served.request("POST", INFER.format("null"), body, headers)
    assert response.json["outputs"][0]["data"] == [1.0, 1.0]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw"])
def test_compressed_bodies(served, coding):
    x = np.ones((1, 1000), np.float32)
    body, headers = with_bytes(x, "FP32", parameters={"binary_data_output": True})
    compressors = {"gzip": gzip.compress, "deflate": zlib.compress, "raw": lambda b: zlib.compress(b)[2:-4]}
    name = "deflate" if coding == "raw" else coding
    headers |= {"Content-Encoding": name, "Accept-Encoding": f"br, {name};q=0.5"}
    response = served.request("POST", INFER.format("null"), compressors[coding](body), headers)
    assert response.headers["content-encoding"] == name
    response.raw = gzip.decompress(response.raw) if name == "gzip" else zlib.decompress(response.raw)
    assert split(response)[1] == x.tobytes()


def test_classification(served):
    x = np.array([[0.1, 0.7, 0.2]], np.float32)
    outputs = [{"name": "y", "parameters": {"classification": 2}}]
    body = {"inputs": [one_input(x, "FP32")], "outputs": outputs}
    (output,) = served.request("POST", INFER.format("null"), body).json["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [1, 2])
    assert output["data"] == ["0.700000:1:dog", "0.200000:2"]


@pytest.mark.parametrize("name", ["id", "parameters", "outputs"])
def test_optional_field_may_be_null(served, name):
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}], name: None}
    assert served.request("POST", INFER.format("null"), body).status == 200


def test_body_without_json(served):
    x = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    response = served.request(
        "POST", INFER.format("square"), x.tobytes(), {"Inference-Header-Content-Length": "0"}
    )
    assert split(response)[1] == x.tobytes()
    response = served.request(
        "POST", INFER.format("null"), x.tobytes(), {"Inference-Header-Content-Length": "0"}
    )
    assert split(response)[0]["outputs"][0]["shape"] == [1, 4]
    response = served.request(
        "POST", INFER.format("echo-bytes"), b"abc", {"Inference-Header-Content-Length": "0"}
    )
    assert split(response)[1] == b"\3\0\0\0abc"


def test_inputs_and_outputs_in_shared_memory(served):
    x = np.array([[1, 2, 3]], np.float32)
    served.regions.register("in", "/in", 0, 64)
    served.regions.register("out", "/out", 0, 64)
    served.regions.write("in", 8, 12, x.tobytes())
    part = {"shared_memory_byte_size": 12, "shared_memory_offset": 8}
    body = {
        "inputs": [
            {
                "name": "x",
                "shape": [1, 3],
                "datatype": "FP32",
                "parameters": {"shared_memory_region": "in", **part},
            }
        ],
        "outputs": [
            {"name": "y", "parameters": {"shared_memory_region": "out", "shared_memory_byte_size": 64}}
        ],
    }
    (output,) = served.request("POST", INFER.format("null"), body).json["outputs"]
    assert output.keys() == {"name", "datatype", "shape"}
    assert "data" not in output
    assert bytes(served.regions.read("out", 0, 12)) == x.tobytes()
    body["outputs"][0]["parameters"]["shared_memory_byte_size"] = 11
    response = served.request("POST", INFER.format("null"), body)
    assert (response.status, "12 bytes; there are 11" in response.json["error"]) == (400, True)
    body["inputs"][0]["parameters"]["shared_memory_region"] = "nowhere"
    assert served.request("POST", INFER.format("null"), body).status == 404
    served.regions.unregister("")


def document(**changed):
    return {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1], **changed}]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "lacks 'inputs'"),
        ({"inputs": {}}, "the request.inputs must be a list"),
        ({"inputs": [1]}, r"inputs\[0\] must be an object"),
        ({"inputs": []}, "lacks the input 'x'"),
        ({**document(), "id": 5}, "the request.id must be a string"),
        ({**document(), "parameters": {"a": []}}, "the request.parameters.a is"),
        ({**document(), "outputs": [{}]}, r"outputs\[0\] lacks 'name'"),
        ({**document(), "outputs": [{"name": "z"}]}, "no output 'z'"),
        (
            {**document(), "outputs": [{"name": "y", "parameters": {"classification": 0}}]},
            "classification .*; it must be an integer of at least 1",
        ),
        ({**document(), "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, "true or false"),
        ({**document(), "parameters": {"binary_data_output": "yes"}}, "true or false"),
        ({**document(), "parameters": {"priority": -1}}, "priority is -1"),
        (document(shape=[1, -1]), r"inputs\[0\].shape\[1\] is -1"),
        (document(shape=[1, True]), r"inputs\[0\].shape\[1\] is true"),
        (document(shape=[1, 1 << 70]), r"inputs\[0\].shape\[1\]"),
        (document(datatype="FP23"), r"inputs\[0\]: there is no data type"),
        (document(datatype="INT32"), "is FP32; the request has int32"),
        (document(name="z"), "no input 'z'"),
        (document(data=[[1, 2]]), r"inputs\[0\].data\[0\] is a list of 2"),
        (document(data=None), "has neither data"),
        (document(parameters={"binary_data_size": 4}), "more than one place"),
        (document(parameters={"shared_memory_region": "a"}), "more than one place"),
        ({"inputs": document()["inputs"] * 2}, "have the same name"),
    ],
)
def test_error_names_the_invalid_field(served, body, message):
    response = served.request("POST", INFER.format("null"), body)
    assert response.status == 400
    assert re.search(message, response.json["error"]), response.json["error"]


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("9999", "9999; the body has"),
        ("-1", "expected a number"),
        ("1e3", "expected a number"),
        ("5", "not valid JSON"),
    ],
)
def test_wrong_header_length_is_rejected(served, head, message):
    body, _ = with_bytes(np.ones((1, 2), np.float32), "FP32")
    response = served.request("POST", INFER.format("null"), body, {"Inference-Header-Content-Length": head})
    assert (response.status, message in response.json["error"]) == (400, True), response.json


@pytest.mark.parametrize("change", [-1, 1, 10**9])
def test_wrong_binary_data_size_is_rejected(served, change):
    body, headers = with_bytes(np.ones((1, 2), np.float32), "FP32")
    changed = body.replace(b'"binary_data_size": 8', b'"binary_data_size": %d' % (8 + change))
    headers["Inference-Header-Content-Length"] = str(len(changed) - 8)
    assert served.request("POST", INFER.format("null"), changed, headers).status == 400


@pytest.mark.parametrize(
    "body",
    [b"{", b"[1]", b"\xff\xfe", b'{"inputs":' + b"[" * 100_000, b'{"a": 1' + b"0" * 5000 + b"}", b"null"],
)
def test_body_that_is_not_a_request_is_rejected(served, body):
    response = served.request("POST", INFER.format("null"), body)
    assert (response.status, list(response.json)) == (400, ["error"])


def test_bytes_after_the_inputs_are_rejected(served):
    body, headers = with_bytes(np.ones((1, 2), np.float32), "FP32")
    response = served.request("POST", INFER.format("null"), body + b"ab", headers)
    assert (response.status, "2 bytes follow the inputs" in response.json["error"]) == (400, True)


def test_strings_of_the_same_shape_may_differ_in_size(served):
    for text in (b"a", b"longer", b""):
        x = np.array([[text]], object)
        body, headers = with_bytes(x, "BYTES", parameters={"binary_data_output": True})
        head, raw = split(served.request("POST", INFER.format("echo-bytes"), body, headers))
        assert head["outputs"][0]["parameters"]["binary_data_size"] == len(raw) == 4 + len(text)


def test_response_that_cannot_be_encoded_fails_alone(served):
    response = served.request("POST", INFER.format("strange"), document())
    assert (response.status, "complex128" in response.json["error"]) == (500, True)
    assert served.request("POST", INFER.format("null"), document()).status == 200


def test_failing_and_missing_models(served):
    response = served.request("POST", INFER.format("broken"), {**document(), "id": "seven"})
    assert (response.status, "it fell over" in response.json["error"], "seven" in response.json["error"]) == (
        500,
        True,
        True,
    )
    response = served.request("POST", INFER.format("nul"), document())
    assert (response.status, "null" in response.json["error"]) == (404, True)
    assert served.request("POST", "/v2/models/null/versions/7/infer", document()).status == 404


def test_output_without_a_json_form_fails_alone(served, values):
    body, headers = with_bytes(values("FP16"), "FP16")
    response = served.request("POST", INFER.format("echo-fp16"), body, headers)
    assert (response.status, "binary" in response.json["error"]) == (400, True)
    assert (
        served.request(
            "POST", INFER.format("echo-bytes"), *with_bytes(np.array([[b"\xff"]], object), "BYTES")
        ).status
        == 400
    )


def test_request_that_waits_longer_than_its_timeout_is_not_computed(serve):
    from threading import Thread

    with serve() as served:
        first = Thread(target=served.request, args=("POST", INFER.format("slow"), document()))
        first.start()
        while not served.call(lambda: served.service.find("slow").scheduler.running):
            pass
        late = {**document(), "parameters": {"timeout": 1}}
        answers = []
        second = Thread(target=lambda: answers.append(served.request("POST", INFER.format("slow"), late)))
        second.start()
        while not served.call(lambda: served.service.find("slow").scheduler.waiting):
            pass
        served.gate.set()
        first.join(20)
        second.join(20)
        assert (answers[0].status, "not computed" in answers[0].json["error"]) == (504, True)
