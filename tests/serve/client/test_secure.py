"""A server that wants TLS, certificates of clients and tokens, and our own client at it."""

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
    """Start a server that lets in who shows a certificate and a token."""
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(f"{TOKEN}\n")
    tokens.chmod(0o600)
    return start_for_all(
        "facile", "--certificate", certificates / "server.pem", "--key", certificates / "server.key", "--client-ca", certificates / "authority.pem", "--tokens", tokens
    )  # fmt: skip


def at(served, certificates, **changes):
    shown = {
        "ca": str(certificates / "authority.pem"),
        "certificate": str(certificates / "client.pem"),
        "key": str(certificates / "client.key"),
        "token": TOKEN,
    }
    return Remote((f"grpcs://{served.grpc}",), timeout_s=10.0, **(shown | changes))


def ask(remote):
    """Return how far the server's answers are off, in units of the tolerance."""
    golden = Bundle.open("facile").golden
    with tamis.open("facile", "remote", remote=remote) as session:
        off = np.abs(session(golden.inputs["channels"]) - golden.outputs["energy"])
    return float((off / (3e-3 + 1e-3 * np.abs(golden.outputs["energy"]))).max())


def test_our_client_comes_in_with_its_certificate_and_its_token(served, certificates, monkeypatch):
    assert ask(at(served, certificates)) < 1
    monkeypatch.setenv("TAMIS_TOKEN", TOKEN)
    assert ask(at(served, certificates, token=None)) < 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"token": None}, "this server requires a token"),
        ({"token": "another-token-that-is-long"}, "the token is not known"),
        ({"ca": None}, "certificate verify failed"),
        ({"certificate": None, "key": None}, "(?i)certificate.required|connection is gone"),
    ],
)
def test_who_lacks_one_of_them_stays_outside_and_is_told_why(served, certificates, changes, told):
    with pytest.raises(ModelError, match=told):
        ask(at(served, certificates, **changes))


def test_papers_that_are_none_are_refused_at_once(served, certificates):
    for changes, told in (
        ({"ca": str(certificates / "nonsense.pem")}, "the CA .* contains no certificate"),
        ({"key": str(certificates / "stranger.key")}, "does not belong to the certificate"),
        ({"key": None}, "go together"),
        ({"ca": str(certificates / "absent.pem")}, "the CA .*absent.pem cannot be read"),
    ):
        with pytest.raises(UsageError, match=told):
            ask(at(served, certificates, **changes))


def test_a_client_that_would_rather_speak_http_2_gets_http_1(served, certificates):
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


def test_the_server_tells_its_addresses_as_they_are(served):
    assert any(line.startswith("grpc: grpcs://127.0.0.1:") for line in served.output)
    assert any(line.startswith("http: https://127.0.0.1:") for line in served.output)


def test_loads_are_sent_through_tls(served, certificates):
    given = [
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
    papers_given = [
        "--ca",
        certificates / "authority.pem",
        "--certificate",
        certificates / "client.pem",
        "--key",
        certificates / "client.key",
    ]
    done = CliRunner().invoke(app, [*given, *map(str, papers_given), "--json"], env={"TAMIS_TOKEN": TOKEN})
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["points"][0]["requests"] > 0
