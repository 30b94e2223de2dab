"""The settings of traces and of the log, with NVIDIA's clients: they can be read, and set to what they are."""

from __future__ import annotations

import pytest
import tritonclient.grpc as grpc
import tritonclient.http as http
from tritonclient.utils import InferenceServerException


@pytest.fixture(scope="module")
def server(start_for_all):
    return start_for_all("facile")


@pytest.fixture(params=[grpc, http], ids=["grpc", "http"])
def client(request, server):
    address = server.grpc if request.param is grpc else server.http
    with request.param.InferenceServerClient(address) as opened:
        opened.options = {"as_json": True} if request.param is grpc else {}
        yield opened


def value(settings, name):
    """Return a setting from the answer of either client."""
    found = settings.get("settings", settings)[name]
    return found["value"] if isinstance(found, dict) else found


@pytest.mark.parametrize("model", [None, "facile"])
def test_traces_are_off(client, model):
    assert value(client.get_trace_settings(model_name=model, **client.options), "trace_level") == ["OFF"]
    same = {"trace_level": "OFF"} if client.options else {"trace_level": ["OFF"]}
    updated = client.update_trace_settings(model_name=model, settings=same, **client.options)
    assert value(updated, "trace_level") == ["OFF"]
    client.update_trace_settings(model_name=model, settings={"trace_rate": None})


def test_log_is_fixed(client):
    settings = client.get_log_settings(**client.options)
    assert settings.get("settings", settings)["log_info"] in (True, {"bool_param": True})
    client.update_log_settings({"log_verbose_level": 0, "log_info": True})


def test_other_values_are_refused(client):
    with pytest.raises(InferenceServerException, match="the server writes no traces, so trace_level stays"):
        client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]})
    with pytest.raises(InferenceServerException, match="has a fixed log, so log_verbose_level stays 0"):
        client.update_log_settings({"log_verbose_level": 2})
    with pytest.raises(
        InferenceServerException, match="there is no setting 'trace_levels'; did you mean 'trace_level'"
    ):
        client.update_trace_settings(settings={"trace_levels": ["OFF"]})
    with pytest.raises(InferenceServerException, match="Request for unknown model"):
        client.get_trace_settings(model_name="facil")


def test_wrong_path_or_method(server):
    with http.InferenceServerClient(server.http) as client:
        assert client._get("v2/a/b/trace/setting", None, None).status_code == 404
        assert client._get("v2/models/facile/x/trace/setting", None, None).status_code == 404
