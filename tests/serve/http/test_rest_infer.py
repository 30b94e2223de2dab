"""Inference through REST: JSON, bytes behind it, shared memory, classes, packed bodies."""

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
    given = {"name": "x", "shape": list(array.shape), "datatype": datatype}
    given["parameters"] = {"binary_data_size": len(raw)}
    head = json.dumps({"inputs": [given], **document}).encode()
    return head + raw, {"Inference-Header-Content-Length": str(len(head))}


def taken_apart(answer):
    size = int(answer.headers["inference-header-content-length"])
    return json.loads(answer.raw[:size]), answer.raw[size:]


@pytest.mark.parametrize("datatype", [name for name in DATATYPES if name not in {"FP16", "BF16", "BYTES"}])
def test_every_type_in_json(served, values, datatype):
    x = values(datatype)
    answer = served.ask(
        "POST", INFER.format(f"echo-{datatype.lower()}"), {"inputs": [one_input(x, datatype)]}
    )
    (output,) = answer.json["outputs"]
    assert (answer.status, output["shape"], output["datatype"]) == (200, [2, 3], datatype)
    np.testing.assert_array_equal(np.array(output["data"], DATATYPES[datatype]), x.ravel())


@pytest.mark.parametrize("datatype", list(DATATYPES))
def test_every_type_as_bytes(served, values, datatype):
    x = values(datatype)
    body, headers = with_bytes(x, datatype, parameters={"binary_data_output": True})
    for _ in range(2):  # heads that came before are looked up
        answer = served.ask("POST", INFER.format(f"echo-{datatype.lower()}"), body, headers)
        told, raw = taken_apart(answer)
        (output,) = told["outputs"]
        assert output["parameters"] == {"binary_data_size": len(raw)}
        np.testing.assert_array_equal(from_raw(raw, datatype, output["shape"], "y"), x)


def test_strings_in_json(served):
    asked = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "BYTES", "data": ["a", "µ"]}]}
    assert served.ask("POST", INFER.format("echo-bytes"), asked).json["outputs"][0]["data"] == ["a", "µ"]


def test_the_answer_says_whose_it_is(served):
    x = np.ones((1, 1), np.float32)
    asked = {"id": "a \ud800 µ", "inputs": [one_input(x, "FP32")], "outputs": [{"name": "y"}]}
    answer = served.ask("POST", "/v2/models/null/versions/1/infer", asked)
    assert answer.json == {
        "model_name": "null",
        "model_version": "1",
        "id": "a \ud800 µ",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}],
    }


def test_what_is_no_number_goes_out_as_the_words_of_triton(served):
    x = np.array([[np.nan, np.inf, -np.inf]], np.float32)
    body, headers = with_bytes(x, "FP32")
    answer = served.ask("POST", INFER.format("null"), body, headers)
    assert b'"data":[NaN,Infinity,-Infinity]' in answer.raw


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_refused_on_the_way_in(served, word):
    body = b'{"inputs":[{"name":"x","shape":[1,1],"datatype":"FP32","data":[%s]}]}' % word.encode()
    answer = served.ask("POST", INFER.format("null"), body)
    assert answer.status == 400
    assert ("Infinity" if "1e" not in word and "N" not in word else word[:2]) in answer.json[
        "error"
    ] or "inf" in answer.json["error"]


def test_answers_are_not_mixed_when_one_is_asked_as_bytes_and_one_not(served):
    x = np.ones((1, 2), np.float32)
    body, headers = with_bytes(x, "FP32", outputs=[{"name": "y", "parameters": {"binary_data": False}}])
    answer = served.ask("POST", INFER.format("null"), body, headers)
    assert answer.json["outputs"][0]["data"] == [1.0, 1.0]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw"])
def test_bodies_may_be_packed(served, coding):
    x = np.ones((1, 1000), np.float32)
    body, headers = with_bytes(x, "FP32", parameters={"binary_data_output": True})
    packing = {"gzip": gzip.compress, "deflate": zlib.compress, "raw": lambda b: zlib.compress(b)[2:-4]}
    name = "deflate" if coding == "raw" else coding
    asked = {**headers, "Content-Encoding": name, "Accept-Encoding": f"br, {name};q=0.5"}
    answer = served.ask("POST", INFER.format("null"), packing[coding](body), asked)
    assert answer.headers["content-encoding"] == name
    answer.raw = gzip.decompress(answer.raw) if name == "gzip" else zlib.decompress(answer.raw)
    assert taken_apart(answer)[1] == x.tobytes()


def test_classes(served):
    x = np.array([[0.1, 0.7, 0.2]], np.float32)
    wanted = [{"name": "y", "parameters": {"classification": 2}}]
    asked = {"inputs": [one_input(x, "FP32")], "outputs": wanted}
    (output,) = served.ask("POST", INFER.format("null"), asked).json["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [1, 2])
    assert output["data"] == ["0.700000:1:dog", "0.200000:2"]


def test_bytes_alone(served):
    x = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    answer = served.ask("POST", INFER.format("square"), x.tobytes(), {"Inference-Header-Content-Length": "0"})
    assert taken_apart(answer)[1] == x.tobytes()
    answer = served.ask("POST", INFER.format("null"), x.tobytes(), {"Inference-Header-Content-Length": "0"})
    assert taken_apart(answer)[0]["outputs"][0]["shape"] == [1, 4]
    answer = served.ask("POST", INFER.format("echo-bytes"), b"abc", {"Inference-Header-Content-Length": "0"})
    assert taken_apart(answer)[1] == b"\3\0\0\0abc"


def test_inputs_and_outputs_in_shared_memory(served):
    x = np.array([[1, 2, 3]], np.float32)
    served.regions.register("in", "/in", 0, 64)
    served.regions.register("out", "/out", 0, 64)
    served.regions.write("in", 8, 12, x.tobytes())
    place = {"shared_memory_byte_size": 12, "shared_memory_offset": 8}
    asked = {
        "inputs": [
            {
                "name": "x",
                "shape": [1, 3],
                "datatype": "FP32",
                "parameters": {"shared_memory_region": "in", **place},
            }
        ],
        "outputs": [
            {"name": "y", "parameters": {"shared_memory_region": "out", "shared_memory_byte_size": 64}}
        ],
    }
    (output,) = served.ask("POST", INFER.format("null"), asked).json["outputs"]
    assert output["parameters"] == {"shared_memory_region": "out", "shared_memory_byte_size": 12}
    assert "data" not in output
    assert bytes(served.regions.read("out", 0, 12)) == x.tobytes()
    asked["outputs"][0]["parameters"]["shared_memory_byte_size"] = 11
    answer = served.ask("POST", INFER.format("null"), asked)
    assert (answer.status, "12 bytes; there are 11" in answer.json["error"]) == (400, True)
    asked["inputs"][0]["parameters"]["shared_memory_region"] = "nowhere"
    assert served.ask("POST", INFER.format("null"), asked).status == 404
    served.regions.unregister("")


def given(**changed):
    return {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1], **changed}]}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, "lacks 'inputs'"),
        ({"inputs": {}}, "the request.inputs must be a list"),
        ({"inputs": [1]}, r"inputs\[0\] must be an object"),
        ({"inputs": []}, "lacks the input 'x'"),
        ({**given(), "id": 5}, "the request.id must be a string"),
        ({**given(), "parameters": {"a": []}}, "the request.parameters.a is"),
        ({**given(), "outputs": [{}]}, r"outputs\[0\] lacks 'name'"),
        ({**given(), "outputs": [{"name": "z"}]}, "no output 'z'"),
        ({**given(), "outputs": [{"name": "y", "parameters": {"classification": 0}}]}, "number of classes"),
        ({**given(), "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, "true or false"),
        ({**given(), "parameters": {"binary_data_output": "yes"}}, "true or false"),
        ({**given(), "parameters": {"priority": -1}}, "priority is -1"),
        (given(shape=[1, -1]), r"inputs\[0\].shape\[1\] is -1"),
        (given(shape=[1, True]), r"inputs\[0\].shape\[1\] is true"),
        (given(shape=[1, 1 << 70]), r"inputs\[0\].shape\[1\]"),
        (given(datatype="FP23"), r"inputs\[0\]: there is no data type"),
        (given(datatype="INT32"), "is FP32; the request has int32"),
        (given(name="z"), "no input 'z'"),
        (given(data=[[1, 2]]), r"inputs\[0\].data\[0\] is a list of 2"),
        (given(data=None), "has neither data"),
        (given(parameters={"binary_data_size": 4}), "more than one place"),
        (given(parameters={"shared_memory_region": "a"}), "more than one place"),
        ({"inputs": given()["inputs"] * 2}, "have the same name"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(served, asked, told):
    answer = served.ask("POST", INFER.format("null"), asked)
    assert answer.status == 400

    assert re.search(told, answer.json["error"]), answer.json["error"]


@pytest.mark.parametrize(
    ("head", "told"),
    [
        ("9999", "9999; the body has"),
        ("-1", "has to be a number"),
        ("1e3", "has to be a number"),
        ("5", "not valid JSON"),
    ],
)
def test_a_length_that_lies_is_refused(served, head, told):
    body, _ = with_bytes(np.ones((1, 2), np.float32), "FP32")
    answer = served.ask("POST", INFER.format("null"), body, {"Inference-Header-Content-Length": head})
    assert (answer.status, told in answer.json["error"]) == (400, True), answer.json


@pytest.mark.parametrize("change", [-1, 1, 10**9])
def test_a_size_of_bytes_that_lies_is_refused(served, change):
    body, headers = with_bytes(np.ones((1, 2), np.float32), "FP32")
    changed = body.replace(b'"binary_data_size": 8', b'"binary_data_size": %d' % (8 + change))
    headers["Inference-Header-Content-Length"] = str(len(changed) - 8)
    assert served.ask("POST", INFER.format("null"), changed, headers).status == 400


@pytest.mark.parametrize(
    "body",
    [b"{", b"[1]", b"\xff\xfe", b'{"inputs":' + b"[" * 100_000, b'{"a": 1' + b"0" * 5000 + b"}", b"null"],
)
def test_what_is_no_request_is_refused(served, body):
    answer = served.ask("POST", INFER.format("null"), body)
    assert (answer.status, list(answer.json)) == (400, ["error"])


def test_bytes_behind_the_inputs_are_refused(served):
    body, headers = with_bytes(np.ones((1, 2), np.float32), "FP32")
    answer = served.ask("POST", INFER.format("null"), body + b"ab", headers)
    assert (answer.status, "2 bytes follow the inputs" in answer.json["error"]) == (400, True)


def test_strings_of_the_same_shape_have_their_own_sizes(served):
    for text in (b"a", b"longer", b""):
        x = np.array([[text]], object)
        body, headers = with_bytes(x, "BYTES", parameters={"binary_data_output": True})
        told, raw = taken_apart(served.ask("POST", INFER.format("echo-bytes"), body, headers))
        assert told["outputs"][0]["parameters"]["binary_data_size"] == len(raw) == 4 + len(text)


def test_an_answer_that_cannot_be_written_fails_alone(served):
    answer = served.ask("POST", INFER.format("strange"), given())
    assert (answer.status, "complex128" in answer.json["error"]) == (500, True)
    assert served.ask("POST", INFER.format("null"), given()).status == 200


def test_a_model_that_fails_and_one_that_is_not_there(served):
    answer = served.ask("POST", INFER.format("broken"), {**given(), "id": "seven"})
    assert (answer.status, "it fell over" in answer.json["error"], "seven" in answer.json["error"]) == (
        500,
        True,
        True,
    )
    answer = served.ask("POST", INFER.format("nul"), given())
    assert (answer.status, "null" in answer.json["error"]) == (404, True)
    assert served.ask("POST", "/v2/models/null/versions/7/infer", given()).status == 404


def test_an_output_that_json_cannot_hold_fails_alone(served, values):
    body, headers = with_bytes(values("FP16"), "FP16")
    answer = served.ask("POST", INFER.format("echo-fp16"), body, headers)
    assert (answer.status, "binary" in answer.json["error"]) == (400, True)
    assert (
        served.ask(
            "POST", INFER.format("echo-bytes"), *with_bytes(np.array([[b"\xff"]], object), "BYTES")
        ).status
        == 400
    )


def test_a_request_that_waits_longer_than_it_may_is_not_computed(serve):
    from threading import Thread

    with serve() as served:
        first = Thread(target=served.ask, args=("POST", INFER.format("slow"), given()))
        first.start()
        while not served.call(lambda: served.service.find("slow").scheduler.running):
            pass
        late = {**given(), "parameters": {"timeout": 1}}
        answers = []
        second = Thread(target=lambda: answers.append(served.ask("POST", INFER.format("slow"), late)))
        second.start()
        while not served.call(lambda: served.service.find("slow").scheduler.waiting):
            pass
        served.gate.set()
        first.join(20)
        second.join(20)
        assert (answers[0].status, "not computed" in answers[0].json["error"]) == (504, True)
