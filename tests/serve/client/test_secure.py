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
def served(certificates, start_for_all, tmp_path_factory):
    """Start a server that requires a client certificate and a token."""
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(f"{TOKEN}\n")
    tokens.chmod(0o600)
    return start_for_all(
        "facile", "--certificate", certificates / "server.pem", "--key", certificates / "server.key", "--client-ca", certificates / "authority.pem", "--tokens", tokens
    )  # fmt: skip


def remote_with(served, certificates, **changes):
    credentials = {
        "ca": str(certificates / "authority.pem"),
        "certificate": str(certificates / "client.pem"),
        "key": str(certificates / "client.key"),
        "token": TOKEN,
    }
    return Remote((f"grpcs://{served.grpc}",), timeout_s=10.0, **(credentials | changes))


def largest_difference(remote):
    """Return the largest difference to the golden outputs, in units of the tolerance."""
    golden = Bundle.open("facile").golden
    with tamis.open("facile", "remote", remote=remote) as session:
        difference = np.abs(session(golden.inputs["channels"]) - golden.outputs["energy"])
    return float((difference / (3e-3 + 1e-3 * np.abs(golden.outputs["energy"]))).max())


def test_client_with_certificate_and_token_is_accepted(served, certificates, monkeypatch):
    assert largest_difference(remote_with(served, certificates)) < 1
    monkeypatch.setenv("TAMIS_TOKEN", TOKEN)
    assert largest_difference(remote_with(served, certificates, token=None)) < 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token": None}, "this server requires a token"),
        ({"token": "another-token-that-is-long"}, "the token is not known"),
        ({"ca": None}, "certificate verify failed"),
        ({"certificate": None, "key": None}, "(?i)certificate.required|connection was lost"),
    ],
)
def test_client_without_one_of_them_is_rejected_with_the_reason(served, certificates, changes, message):
    with pytest.raises(ModelError, match=message):
        largest_difference(remote_with(served, certificates, **changes))


def test_invalid_credential_files_are_rejected_at_once(served, certificates):
    for changes, message in (
        ({"ca": str(certificates / "nonsense.pem")}, "the CA .* contains no certificate"),
        ({"key": str(certificates / "stranger.key")}, "does not belong to the certificate"),
        ({"key": None}, "go together"),
        ({"ca": str(certificates / "absent.pem")}, "the CA .*absent.pem cannot be read"),
    ):
        with pytest.raises(UsageError, match=message):
            largest_difference(remote_with(served, certificates, **changes))


def test_https_client_that_prefers_http_2_gets_http_1(served, certificates):
    context = ssl.create_default_context(cafile=certificates / "authority.pem")
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
    host, _, port = served.http.rpartition(":")
    connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=10)
    connection.request("GET", "/v2/models/facile", headers={"Authorization": f"Bearer {TOKEN}"})
    answer = connection.getresponse()
    assert answer.status == 200
    assert json.loads(answer.read())["name"] == "facile"
    connection.close()


def test_printed_addresses_have_the_secure_schemes(served):
    assert any(line.startswith("grpc: grpcs://127.0.0.1:") for line in served.output)
    assert any(line.startswith("http: https://127.0.0.1:") for line in served.output)


def test_load_command_uses_tls(served, certificates):
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
        certificates / "authority.pem",
        "--certificate",
        certificates / "client.pem",
        "--key",
        certificates / "client.key",
    ]
    done = CliRunner().invoke(app, [*arguments, *map(str, credentials), "--json"], env={"TAMIS_TOKEN": TOKEN})
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["points"][0]["requests"] > 0
