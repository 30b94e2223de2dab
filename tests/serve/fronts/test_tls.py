"""TLS, client certificates and tokens."""

import ssl
from http.client import HTTPSConnection

import pytest

from tamis._base import UsageError
from tamis.serve.tls import HTTP1, Tokens, server_context
from tamis.serve.wire.http1 import HttpLimits, HttpRequest

TOKEN = "a-token-of-enough-characters"  # noqa: S105 - not a secret


def request(port, certificates, client=None):
    context = ssl.create_default_context(cafile=certificates / "authority.pem")
    context.set_alpn_protocols(["http/1.1"])
    if client:
        context.load_cert_chain(certificates / f"{client}.pem", certificates / f"{client}.key")
    connection = HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
    try:
        connection.request("POST", "/v2/models/null/infer", b'{"inputs": []}' + b" " * 300_000)
        protocol = connection.sock.selected_alpn_protocol()
        answer = connection.getresponse()
        return answer.status, answer.read(), protocol
    finally:
        connection.close()


@pytest.mark.parametrize("uvloop", [False, True])
def test_requests_over_tls(serve, certificates, uvloop):
    context = server_context(certificates / "server.pem", certificates / "server.key", protocol=HTTP1)
    with serve(tls=context, uvloop=uvloop) as served:
        status, raw, protocol = request(served.port, certificates)
        assert (status, b"lacks the input" in raw, protocol) == (400, True, "http/1.1")
        assert served.errors == []


@pytest.mark.parametrize("uvloop", [False, True])
def test_client_that_sends_too_much_can_read_the_error(serve, certificates, uvloop):
    context = server_context(certificates / "server.pem", certificates / "server.key", protocol=HTTP1)
    client = ssl.create_default_context(cafile=certificates / "authority.pem")
    limits = HttpLimits(max_body_bytes=1000, linger_s=5)
    with (
        serve(tls=context, uvloop=uvloop, limits=limits) as served,
        served.socket() as plain,
        client.wrap_socket(plain, server_hostname="127.0.0.1") as client_socket,
    ):
        client_socket.sendall(b"POST /v2 HTTP/1.1\r\nContent-Length: 9000000\r\n\r\n" + b" " * 9_000_000)
        assert client_socket.recv(1000).startswith(b"HTTP/1.1 413")


def test_client_without_tls_is_disconnected(serve, certificates):
    context = server_context(certificates / "server.pem", certificates / "server.key", protocol=HTTP1)
    with serve(tls=context) as served:
        assert b"HTTP" not in served.talk(b"GET /v2 HTTP/1.1\r\n\r\n")
        assert request(served.port, certificates)[0] == 400


def test_client_certificate_must_be_signed_by_the_authority(serve, certificates):
    context = server_context(
        certificates / "server.pem", certificates / "server.key", certificates / "authority.pem", HTTP1
    )
    with serve(tls=context) as served:
        assert request(served.port, certificates, "client")[0] == 400
        for client in (None, "stranger"):
            with pytest.raises((ssl.SSLError, OSError)):
                request(served.port, certificates, client)
        assert request(served.port, certificates, "client")[0] == 400


@pytest.mark.parametrize(
    ("certificate", "key", "ca", "message"),
    [
        ("absent.pem", "server.key", None, "the certificate .*absent.pem cannot be read: No such file"),
        ("server.pem", "absent.key", None, "the key .* cannot be read"),
        ("server.pem", "client.key", None, "does not belong to the certificate"),
        ("nonsense.pem", "server.key", None, "contains no certificate in PEM"),
        ("server.pem", "nonsense.pem", None, "contains no private key in PEM"),
        ("server.pem", "server.locked", None, "the key is encrypted"),
        ("server.pem", "server.key", "nonsense.pem", "the client CA .* contains no certificate"),
        ("server.pem", "server.key", "absent.pem", "the client CA .* cannot be read"),
    ],
)
def test_invalid_certificates_are_named_in_the_error(certificates, certificate, key, ca, message):
    with pytest.raises(UsageError, match=message):
        server_context(certificates / certificate, certificates / key, certificates / ca if ca else None)


def write_tokens(path, text, mode=0o600):
    path.write_text(text, "utf-8")
    path.chmod(mode)
    return path


def test_known_tokens_are_accepted_and_others_rejected(tmp_path):
    known = Tokens.read(write_tokens(tmp_path / "tokens", f"# two\n{TOKEN}1\n\n{TOKEN}2\n"))
    assert known.reject_reason(f"Bearer {TOKEN}1") is None
    assert known.reject_reason(f"bearer {TOKEN}2") is None
    for wrong in (
        "",
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}1",
        f"Bearer {TOKEN}",
        f"Bearer {TOKEN}1x",
        "Bearer \xff",
    ):
        assert known.reject_reason(wrong)
    assert TOKEN not in repr(known)


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        (TOKEN, 0o640, "mode 640: others can access it; run chmod 600"),
        (TOKEN, 0o604, "mode 604"),
        ("# none\n", 0o600, "contains no token"),
        ("short", 0o600, "token 1 in .* 16 characters"),
        (f"{TOKEN}\n{TOKEN} {TOKEN}", 0o600, "token 2 in"),
        ("µ" * 20, 0o600, "outside ASCII"),
    ],
)
def test_invalid_token_file_is_rejected(tmp_path, text, mode, message):
    with pytest.raises(UsageError, match=message):
        Tokens.read(write_tokens(tmp_path / "tokens", text, mode))


def test_missing_token_file_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        Tokens.read(tmp_path / "absent")


def test_server_with_tokens_answers_only_clients_that_have_one(serve, tmp_path):
    known = Tokens.read(write_tokens(tmp_path / "tokens", TOKEN))

    def authorize(request: HttpRequest) -> str | None:
        return known.reject_reason(request.header(b"authorization"))

    with serve(authorize=authorize) as served:
        assert served.request("GET", "/v2").status == 401
        assert served.request("GET", "/v2", headers={"Authorization": f"Bearer {TOKEN}"}).status == 200
