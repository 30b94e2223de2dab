"""What may be asked besides inference."""

import json

import pytest

from tamis.serve.service import EXTENSIONS


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/health/live", 200),
        ("/v2/health/ready", 200),
        ("/v2/models/null/ready", 200),
        ("/v2/models/null/versions/1/ready", 200),
        ("/v2/models/null/versions/2/ready", 400),
        ("/v2/models/nul/ready", 400),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_health(served, method, path, status):
    answer = served.ask(method, path)
    assert (answer.status, answer.raw) == (status, b"")


def test_a_server_that_is_not_ready_says_so(serve):
    with serve() as served:
        served.call(lambda: setattr(served.service, "ready", False))
        assert served.ask("GET", "/v2/health/ready").status == 400
        assert served.ask("GET", "/v2/health/live").status == 200


def test_the_server_and_its_models_describe_themselves(served):
    assert served.ask("GET", "/v2").json["extensions"] == list(EXTENSIONS)
    assert served.ask("GET", "/v2/?a=b").json["name"] == "tamis"
    assert served.ask("GET", f"http://127.0.0.1:{served.port}/v2").json["name"] == "tamis"
    expected = {
        "name": "square",
        "versions": ["1"],
        "platform": "null",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2, 2]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2, 2]}],
    }
    assert served.ask("GET", "/v2/models/square").json == expected
    assert served.ask("GET", "/v2/models/sq%75are/versions/1").json == expected
    answer = served.ask("GET", "/v2/models/squar")
    assert (answer.status, "square" in answer.json["error"]) == (404, True)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v2/models",
        "/v2/models/",
        "/v2/models/null/versions",
        "/v2/models/null/nothing",
        "/v2/repository",
        "/v2/repository/models/a/b/load",
        "/v2/systemsharedmemory/region/a/nothing",
        "/v2/../../etc/passwd",
        "/v2/models/..%2f..%2fetc/config/x",
        "*",
    ],
)
def test_where_nothing_is(served, path):
    for method in ("GET", "POST"):
        answer = served.ask(method, path)
        assert answer.status == 404
        assert "nothing at" in answer.json["error"]


def test_a_target_that_is_no_address(served):
    found = served.talk(b"GET http://[/v2 HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert found.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400"))


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v2", "GET, HEAD"),
        ("DELETE", "/v2/health/live", "GET, HEAD"),
        ("GET", "/v2/models/null/infer", "POST"),
        ("GET", "/v2/repository/index", "POST"),
        ("GET", "/v2/repository/models/a/load", "POST"),
        ("POST", "/v2/systemsharedmemory/status", "GET, HEAD"),
    ],
)
def test_the_wrong_method_is_told_the_right_one(served, method, path, allowed):
    answer = served.ask(method, path)
    assert (answer.status, answer.headers["allow"]) == (405, allowed)
    assert allowed in answer.json["error"]


def test_statistics_count_what_was_done(serve):
    asked = {"inputs": [{"name": "x", "shape": [3, 1], "datatype": "FP32", "data": [1, 2, 3]}]}
    with serve() as served:
        for _ in range(2):
            served.ask("POST", "/v2/models/null/infer", asked)
        served.ask("POST", "/v2/models/broken/infer", asked)
        (found,) = served.ask("GET", "/v2/models/null/stats").json["model_stats"]
        assert (found["inference_count"], found["execution_count"], found["version"]) == (6, 2, "1")
        assert found["inference_stats"]["success"]["count"] == 2
        assert (
            found["inference_stats"]["success"]["ns"] >= found["inference_stats"]["compute_infer"]["ns"] > 0
        )
        assert [(one["batch_size"], one["compute_infer"]["count"]) for one in found["batch_stats"]] == [
            (3, 2)
        ]
        (found,) = served.ask("GET", "/v2/models/broken/versions/1/stats").json["model_stats"]
        assert found["inference_stats"]["fail"]["count"] == 1
        every = served.ask("GET", "/v2/models/stats").json["model_stats"]
        assert {one["name"] for one in every} == set(served.service.models)
        assert served.ask("GET", "/v2/models/nul/stats").status == 404


def test_the_repository(serve):
    with serve() as served:
        index = served.ask("POST", "/v2/repository/index").json
        assert [one["state"] for one in index] == ["UNAVAILABLE"]
        config = json.dumps({"max_batch_size": 4})
        answer = served.ask("POST", "/v2/repository/models/one/load", {"parameters": {"config": config}})
        assert (answer.status, served.repository.loaded) == (200, {"one": config})
        ready = served.ask("POST", "/v2/repository/index", {"ready": True}).json
        assert [one["name"] for one in ready] == ["one"]
        unload = {"parameters": {"unload_dependents": True}}
        assert served.ask("POST", "/v2/repository/models/one/unload", unload).status == 200
        assert served.repository.loaded == {}
        assert served.ask("GET", "/v2/models/null/config").json["max_batch_size"] == 8
        assert served.ask("GET", "/v2/models/nul/config").status == 404


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("absent", None, 404),
        ("one", {"parameters": {"file:1/model.onnx": "AAAA"}}, 501),
        ("one", {"parameters": {"config": 5}}, 400),
        ("one", {"parameters": []}, 400),
        ("one", [1], 400),
    ],
)
def test_what_cannot_be_loaded_is_told_why(served, name, body, status):
    answer = served.ask("POST", f"/v2/repository/models/{name}/load", json.dumps(body) if body else None)
    assert answer.status == status
    assert answer.json["error"]
    assert served.repository.loaded == {}


def test_a_fault_of_the_server_is_an_answer_too(serve):
    with serve() as served:
        assert served.ask("POST", "/v2/repository/models/wrong/load").status == 500
        assert served.ask("GET", "/v2").status == 200


def test_shared_memory(serve):
    region = "/v2/systemsharedmemory/region/{}/"
    with serve() as served:
        asked = {"key": "/a", "offset": 8, "byte_size": 64}
        assert served.ask("POST", region.format("a") + "register", asked).status == 200
        assert served.ask("POST", region.format("a") + "register", asked).status == 409
        assert (
            served.ask("POST", region.format("b") + "register", {"key": "/b", "byte_size": 1}).status == 200
        )
        expected = {"name": "a", "key": "/a", "offset": 8, "byte_size": 64}
        assert served.ask("GET", region.format("a") + "status").json == [expected]
        assert len(served.ask("GET", "/v2/systemsharedmemory/status").json) == 2
        assert served.ask("GET", region.format("c") + "status").status == 404
        assert served.ask("POST", region.format("a") + "unregister").status == 200
        assert served.ask("POST", "/v2/systemsharedmemory/unregister").status == 200
        assert served.ask("GET", "/v2/systemsharedmemory/status").json == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"key": 5, "byte_size": 1},
        {"key": "/a", "byte_size": -1},
        {"key": "/a", "byte_size": 1, "offset": True},
    ],
)
def test_a_region_that_cannot_be_is_refused(served, body):
    answer = served.ask("POST", "/v2/systemsharedmemory/region/a/register", body)
    assert (answer.status, list(answer.json)) == (400, ["error"])
    assert served.regions.status("") == []


def test_there_is_no_cuda_memory(served):
    assert served.ask("GET", "/v2/cudasharedmemory/status").json == []
    assert served.ask("POST", "/v2/cudasharedmemory/unregister").status == 200
    assert served.ask("POST", "/v2/cudasharedmemory/region/a/register", {}).status == 501


def test_a_server_without_repository_and_shared_memory_says_so(serve):
    with serve(bare=True) as served:
        for method, path in (
            ("POST", "/v2/repository/index"),
            ("GET", "/v2/models/null/config"),
            ("GET", "/v2/systemsharedmemory/status"),
        ):
            assert served.ask(method, path).status == 501
        place = {"shared_memory_region": "a", "shared_memory_byte_size": 4}
        given = {"name": "x", "shape": [1, 1], "datatype": "FP32"}
        for asked in (
            {"inputs": [{**given, "parameters": place}]},
            {"inputs": [{**given, "data": [1]}], "outputs": [{"name": "y", "parameters": place}]},
        ):
            assert served.ask("POST", "/v2/models/null/infer", asked).status == 501
