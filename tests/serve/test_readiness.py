"""Liveness and readiness: of the server and its models, after failures and repairs, and for probes without a token."""

from __future__ import annotations

import json
from http.client import HTTPConnection

import grpc as grpcio
import pytest
import tritonclient.grpc as triton

from tamis.bundle import pack
from tamis.serve.fronts.health import HEALTH_CHECK, HealthCheckRequest, HealthCheckResponse

TOKEN = "a-token-of-enough-characters"  # noqa: S105 - not a secret


@pytest.fixture
def repository(tmp_path, bundle_of, parse_model):
    """A folder with a good bundle, and one whose model file is damaged; `repair` restores it."""
    folder = tmp_path / "models"
    model = parse_model("m (float[N, 4] x) => (float[N, 4] y) { y = Relu (x) }")
    for name in ("good", "bad"):
        pack(model, folder / f"{name}.tamis", name=name)
    file = folder / "bad.tamis" / "model.onnx"
    intact = file.read_bytes()
    file.write_bytes(intact[:-1])
    return folder, lambda: file.write_bytes(intact)


def get(address, path):
    host, _, port = address.rpartition(":")
    connection = HTTPConnection(host, int(port), timeout=20)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, json.loads(body) if body else {}


def health(address, name=""):
    """Ask with gRPC's own library; return the status, or the code of the error."""
    with grpcio.insecure_channel(address) as channel:
        check = channel.unary_unary(
            HEALTH_CHECK,
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        try:
            return check(HealthCheckRequest(service=name), timeout=20).status
        except grpcio.RpcError as error:
            return error.code()


def test_readiness_recovers_when_a_failed_model_is_repaired(start, repository):
    folder, repair = repository
    server = start(folder)
    assert get(server.http, "/v2/health/live")[0] == 200
    assert get(server.http, "/v2/health/ready")[0] == 400
    assert health(server.grpc) == health(server.grpc, "bad") == 2
    assert health(server.grpc, "good") == 1
    assert health(server.grpc, "other") is grpcio.StatusCode.NOT_FOUND
    assert get(server.http, "/v2/models/good/ready")[0] == 200
    status, body = get(server.http, "/v2/models/bad/ready")
    assert status == 400
    assert "Request for unknown model: 'bad' is not available: " in body["error"]
    assert "model.onnx" in body["error"]
    repair()
    with triton.InferenceServerClient(server.grpc) as client:
        assert not client.is_server_ready()
        client.load_model("bad")
        assert client.is_server_ready()
    assert get(server.http, "/v2/health/ready")[0] == 200
    assert health(server.grpc) == health(server.grpc, "bad") == 1


def test_readiness_recovers_when_a_failed_model_is_unloaded(start, repository):
    server = start(repository[0])
    with triton.InferenceServerClient(server.grpc) as client:
        assert not client.is_server_ready()
        client.unload_model("bad")
        assert client.is_server_ready()


def test_without_strict_readiness_a_failed_model_does_not_count(start, repository):
    server = start(repository[0], "--no-strict-readiness")
    assert get(server.http, "/v2/health/ready")[0] == 200
    assert get(server.http, "/v2/models/bad/ready")[0] == 400


def test_probes_need_no_token(start, repository, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN + "\n")
    tokens.chmod(0o600)
    repository[1]()
    server = start(repository[0], "--tokens", tokens)
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/health/ready?x=1"):
        assert get(server.http, path)[0] == 200
    for path in ("/v2/models/good/ready", "/v2", "/v2/health/ready/../../models/good"):
        assert get(server.http, path)[0] == 401
    assert health(server.grpc) == 1
    with triton.InferenceServerClient(server.grpc) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        with pytest.raises(triton.InferenceServerException, match="UNAUTHENTICATED"):
            client.get_server_metadata()
