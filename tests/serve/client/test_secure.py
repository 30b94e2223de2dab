"""A server that requires TLS, client certificates and tokens, and our client."""

from __future__ import annotations

import http.client
import json
import ssl

import numpy as np
import pytest
from click.testing import CliRunner

import tamis
from tamis._base import ModelError, UsageError
from tamis.bundle import Bundle
from tamis.cli.app import app
from tamis.engines import Remote

TOKEN = "a-token-of-enough-characters"  # noqa: S105 - of a test


@pytest.fixture(scope="module")
def served(papers, start_for_all, tmp_path_factory):
    """Start a server that requires a client certificate and a token."""
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(f"{TOKEN}\n")
    tokens.chmod(0o600)
    return start_for_all(
        "facile", "--certificate", papers / "server.pem", "--key", papers / "server.key", "--client-ca", papers / "authority.pem", "--tokens", tokens
    )  # fmt: skip


def remote_with(served, papers, **changes):
    credentials = {
        "ca": str(papers / "authority.pem"),
        "certificate": str(papers / "client.pem"),
        "key": str(papers / "client.key"),
        "token": TOKEN,
    }
    return Remote((f"grpcs://{served.grpc}",), timeout_s=10.0, **(credentials | changes))


def largest_difference(remote):
    """Return the largest difference to the golden outputs, in units of the tolerance."""
    golden = Bundle.open("facile").golden
    with tamis.open("facile", "remote", remote=remote) as session:
        difference = np.abs(session(golden.inputs["channels"]) - golden.outputs["energy"])
    return float((difference / (3e-3 + 1e-3 * np.abs(golden.outputs["energy"]))).max())


def test_client_with_certificate_and_token_is_accepted(served, papers, monkeypatch):
    assert largest_difference(remote_with(served, papers)) < 1
    monkeypatch.setenv("TAMIS_TOKEN", TOKEN)
    assert largest_difference(remote_with(served, papers, token=None)) < 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token": None}, "this server wants a token"),
        ({"token": "another-token-that-is-long"}, "the token is not known"),
        ({"ca": None}, "certificate verify failed"),
        ({"certificate": None, "key": None}, "(?i)certificate.required|connection was lost"),
    ],
)
def test_client_without_one_of_them_is_rejected_with_the_reason(served, papers, changes, message):
    with pytest.raises(ModelError, match=message):
        largest_difference(remote_with(served, papers, **changes))


def test_invalid_credential_files_are_rejected_at_once(served, papers):
    for changes, message in (
        ({"ca": str(papers / "nonsense.pem")}, "the CA .* holds no certificate"),
        ({"key": str(papers / "stranger.key")}, "does not belong to the certificate"),
        ({"key": None}, "go together"),
        ({"ca": str(papers / "absent.pem")}, "the CA .*absent.pem cannot be read"),
    ):
        with pytest.raises(UsageError, match=message):
            largest_difference(remote_with(served, papers, **changes))


def test_https_client_that_prefers_http_2_gets_http_1(served, papers):
    context = ssl.create_default_context(cafile=papers / "authority.pem")
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.load_cert_chain(papers / "client.pem", papers / "client.key")
    host, _, port = served.http.rpartition(":")
    connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=10)
    connection.request("GET", "/v2/models/facile", headers={"Authorization": f"Bearer {TOKEN}"})
    answer = connection.getresponse()
    assert answer.status == 200
    assert json.loads(answer.read())["name"] == "facile"
    connection.close()


def test_printed_addresses_have_the_secure_schemes(served):
    assert any(line.startswith("grpc: grpcs://127.0.0.1:") for line in served.told)
    assert any(line.startswith("http: https://127.0.0.1:") for line in served.told)


def test_load_command_uses_tls(served, papers):
    arguments = [
        "load",
        f"grpcs://{served.grpc}",
        "facile",
        "--scenario",
        "single-stream",
        "--seconds",
        "0.3",
        "--warm-up",
        "0.1",
    ]
    credentials = [
        "--ca",
        papers / "authority.pem",
        "--certificate",
        papers / "client.pem",
        "--key",
        papers / "client.key",
    ]
    done = CliRunner().invoke(app, [*arguments, *map(str, credentials), "--json"], env={"TAMIS_TOKEN": TOKEN})
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["points"][0]["requests"] > 0
