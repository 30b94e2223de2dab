"""The REST API besides inference."""

import json

import pytest

from tamis.serve.models.overrides import LoadOverride
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
    response = served.request(method, path)
    assert response.status == status
    assert bool(response.raw) == (method == "GET")
    if method == "GET":  # clients of KServe read what is true, and people the reason of what is not
        assert set(response.json.values()) & {True} if status == 200 else "error" in response.json


def test_server_that_is_not_ready(serve):
    with serve() as served:
        served.call(lambda: setattr(served.service, "accepts", False))
        assert served.request("GET", "/v2/health/ready").status == 400
        assert served.request("GET", "/v2/health/live").status == 200


def test_metadata_of_server_and_models(served):
    assert served.request("GET", "/v2").json["extensions"] == list(EXTENSIONS)
    assert served.request("GET", "/v2/?a=b").json["name"] == "tamis"
    assert served.request("GET", f"http://127.0.0.1:{served.port}/v2").json["name"] == "tamis"
    expected = {
        "name": "square",
        "versions": ["1"],
        "platform": "null",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2, 2]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2, 2]}],
    }
    assert served.request("GET", "/v2/models/square").json == expected
    assert served.request("GET", "/v2/models/sq%75are/versions/1").json == expected
    response = served.request("GET", "/v2/models/squar")
    assert (response.status, "square" in response.json["error"]) == (404, True)


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
def test_unknown_paths_are_not_found(served, path):
    for method in ("GET", "POST"):
        response = served.request(method, path)
        assert response.status == 404
        assert "nothing at" in response.json["error"]


def test_target_that_is_not_a_url(served):
    response = served.talk(b"GET http://[/v2 HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert response.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400"))


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
def test_wrong_method_gets_the_allowed_ones(served, method, path, allowed):
    response = served.request(method, path)
    assert (response.status, response.headers["allow"]) == (405, allowed)
    assert allowed in response.json["error"]


def test_statistics_count_requests(serve):
    body = {"inputs": [{"name": "x", "shape": [3, 1], "datatype": "FP32", "data": [1, 2, 3]}]}
    with serve() as served:
        for _ in range(2):
            served.request("POST", "/v2/models/null/infer", body)
        served.request("POST", "/v2/models/broken/infer", body)
        (statistics,) = served.request("GET", "/v2/models/null/stats").json["model_stats"]
        assert (statistics["inference_count"], statistics["execution_count"], statistics["version"]) == (
            6,
            2,
            "1",
        )
        assert statistics["inference_stats"]["success"]["count"] == 2
        assert (
            statistics["inference_stats"]["success"]["ns"]
            >= statistics["inference_stats"]["compute_infer"]["ns"]
            > 0
        )
        assert [
            (entry["batch_size"], entry["compute_infer"]["count"]) for entry in statistics["batch_stats"]
        ] == [(3, 2)]
        (statistics,) = served.request("GET", "/v2/models/broken/versions/1/stats").json["model_stats"]
        assert statistics["inference_stats"]["fail"]["count"] == 1
        all_models = served.request("GET", "/v2/models/stats").json["model_stats"]
        assert {entry["name"] for entry in all_models} == set(served.service.models)
        assert served.request("GET", "/v2/models/nul/stats").status == 404


def test_repository_index_and_loading(serve):
    with serve() as served:
        index = served.request("POST", "/v2/repository/index").json
        assert [entry["state"] for entry in index] == ["UNAVAILABLE"]
        config = json.dumps({"max_batch_size": 4})
        response = served.request(
            "POST", "/v2/repository/models/one/load", {"parameters": {"config": config}}
        )
        assert (response.status, served.repository.loaded) == (200, {"one": LoadOverride(config)})
        ready = served.request("POST", "/v2/repository/index", {"ready": True}).json
        assert [entry["name"] for entry in ready] == ["one"]
        unload = {"parameters": {"unload_dependents": True}}
        assert served.request("POST", "/v2/repository/models/one/unload", unload).status == 200
        assert served.repository.loaded == {}
        assert served.request("GET", "/v2/models/null/config").json["max_batch_size"] == 8
        assert served.request("GET", "/v2/models/nul/config").status == 404


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("absent", None, 404),
        ("one", {"parameters": {"file:1/model.onnx": "AAAA"}}, 400),
        ("one", {"parameters": {"config": "{}", "file:1/model.onnx": "not base64"}}, 400),
        ("one", {"parameters": {"config": 5}}, 400),
        ("one", {"parameters": []}, 400),
        ("one", [1], 400),
    ],
)
def test_load_error_has_a_reason(served, name, body, status):
    response = served.request(
        "POST", f"/v2/repository/models/{name}/load", json.dumps(body) if body else None
    )
    assert response.status == status
    assert response.json["error"]
    assert served.repository.loaded == {}


def test_internal_error_gets_a_response(serve):
    with serve() as served:
        assert served.request("POST", "/v2/repository/models/wrong/load").status == 500
        assert served.request("GET", "/v2").status == 200


def test_shared_memory_regions(serve):
    region = "/v2/systemsharedmemory/region/{}/"
    with serve() as served:
        body = {"key": "/a", "offset": 8, "byte_size": 64}
        assert served.request("POST", region.format("a") + "register", body).status == 200
        assert served.request("POST", region.format("a") + "register", body).status == 409
        assert (
            served.request("POST", region.format("b") + "register", {"key": "/b", "byte_size": 1}).status
            == 200
        )
        expected = {"name": "a", "key": "/a", "offset": 8, "byte_size": 64}
        assert served.request("GET", region.format("a") + "status").json == [expected]
        assert len(served.request("GET", "/v2/systemsharedmemory/status").json) == 2
        assert served.request("GET", region.format("c") + "status").status == 404
        assert served.request("POST", region.format("a") + "unregister").status == 200
        assert served.request("POST", "/v2/systemsharedmemory/unregister").status == 200
        assert served.request("GET", "/v2/systemsharedmemory/status").json == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"key": 5, "byte_size": 1},
        {"key": "/a", "byte_size": -1},
        {"key": "/a", "byte_size": 1, "offset": True},
    ],
)
def test_invalid_region_is_rejected(served, body):
    response = served.request("POST", "/v2/systemsharedmemory/region/a/register", body)
    assert (response.status, list(response.json)) == (400, ["error"])
    assert served.regions.status("") == []


def test_cuda_shared_memory_is_not_supported(served):
    assert served.request("GET", "/v2/cudasharedmemory/status").json == []
    assert served.request("POST", "/v2/cudasharedmemory/unregister").status == 200
    assert served.request("POST", "/v2/cudasharedmemory/region/a/register", {}).status == 501


def test_server_without_repository_and_shared_memory(serve):
    with serve(bare=True) as served:
        for method, path in (
            ("POST", "/v2/repository/index"),
            ("GET", "/v2/models/null/config"),
            ("GET", "/v2/systemsharedmemory/status"),
        ):
            assert served.request(method, path).status == 501
        place = {"shared_memory_region": "a", "shared_memory_byte_size": 4}
        tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32"}
        for body in (
            {"inputs": [{**tensor, "parameters": place}]},
            {"inputs": [{**tensor, "data": [1]}], "outputs": [{"name": "y", "parameters": place}]},
        ):
            assert served.request("POST", "/v2/models/null/infer", body).status == 501
