"""TLS, certificates of clients, and tokens."""

import ssl
from http.client import HTTPSConnection

import pytest

from tamis._base import UsageError
from tamis.serve.tls import HTTP1, Tokens, server_context
from tamis.serve.wire.http1 import HttpLimits, HttpRequest

TOKEN = "a-token-of-enough-characters"  # noqa: S105 - of a test


def ask(port, papers, client=None):
    context = ssl.create_default_context(cafile=papers / "authority.pem")
    context.set_alpn_protocols(["http/1.1"])
    if client:
        context.load_cert_chain(papers / f"{client}.pem", papers / f"{client}.key")
    connection = HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
    try:
        connection.request("POST", "/v2/models/null/infer", b'{"inputs": []}' + b" " * 300_000)
        protocol = connection.sock.selected_alpn_protocol()
        answer = connection.getresponse()
        return answer.status, answer.read(), protocol
    finally:
        connection.close()


@pytest.mark.parametrize("uvloop", [False, True])
def test_requests_travel_through_tls(serve, papers, uvloop):
    context = server_context(papers / "server.pem", papers / "server.key", protocol=HTTP1)
    with serve(tls=context, uvloop=uvloop) as served:
        status, raw, protocol = ask(served.port, papers)
        assert (status, b"lacks the input" in raw, protocol) == (400, True, "http/1.1")
        assert served.errors == []


@pytest.mark.parametrize("uvloop", [False, True])
def test_who_sends_too_much_can_read_why(serve, papers, uvloop):
    context = server_context(papers / "server.pem", papers / "server.key", protocol=HTTP1)
    client = ssl.create_default_context(cafile=papers / "authority.pem")
    limits = HttpLimits(body_bytes_most=1000, linger_s=5)
    with (
        serve(tls=context, uvloop=uvloop, limits=limits) as served,
        served.socket() as plain,
        client.wrap_socket(plain, server_hostname="127.0.0.1") as one,
    ):
        one.sendall(b"POST /v2 HTTP/1.1\r\nContent-Length: 9000000\r\n\r\n" + b" " * 9_000_000)
        assert one.recv(1000).startswith(b"HTTP/1.1 413")


def test_who_does_not_speak_tls_is_cut_off(serve, papers):
    context = server_context(papers / "server.pem", papers / "server.key", protocol=HTTP1)
    with serve(tls=context) as served:
        assert b"HTTP" not in served.talk(b"GET /v2 HTTP/1.1\r\n\r\n")
        assert ask(served.port, papers)[0] == 400


def test_clients_have_to_show_a_certificate_of_the_right_authority(serve, papers):
    context = server_context(papers / "server.pem", papers / "server.key", papers / "authority.pem", HTTP1)
    with serve(tls=context) as served:
        assert ask(served.port, papers, "client")[0] == 400
        for who in (None, "stranger"):
            with pytest.raises((ssl.SSLError, OSError)):
                ask(served.port, papers, who)
        assert ask(served.port, papers, "client")[0] == 400


@pytest.mark.parametrize(
    ("certificate", "key", "ca", "told"),
    [
        ("absent.pem", "server.key", None, "the certificate .*absent.pem cannot be read: No such file"),
        ("server.pem", "absent.key", None, "the key .* cannot be read"),
        ("server.pem", "client.key", None, "does not belong to the certificate"),
        ("nonsense.pem", "server.key", None, "holds no certificate in PEM"),
        ("server.pem", "nonsense.pem", None, "holds no private key in PEM"),
        ("server.pem", "server.locked", None, "the key is encrypted"),
        ("server.pem", "server.key", "nonsense.pem", "the client CA .* holds no certificate"),
        ("server.pem", "server.key", "absent.pem", "the client CA .* cannot be read"),
    ],
)
def test_papers_that_are_not_in_order_are_named(papers, certificate, key, ca, told):
    with pytest.raises(UsageError, match=told):
        server_context(papers / certificate, papers / key, papers / ca if ca else None)


def tokens(path, text, mode=0o600):
    path.write_text(text, "utf-8")
    path.chmod(mode)
    return path


def test_tokens_let_in_who_has_one(tmp_path):
    known = Tokens.read(tokens(tmp_path / "tokens", f"# two\n{TOKEN}1\n\n{TOKEN}2\n"))
    assert known.why_not(f"Bearer {TOKEN}1") is None
    assert known.why_not(f"bearer {TOKEN}2") is None
    for wrong in (
        "",
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}1",
        f"Bearer {TOKEN}",
        f"Bearer {TOKEN}1x",
        "Bearer \xff",
    ):
        assert known.why_not(wrong)
    assert TOKEN not in repr(known)


@pytest.mark.parametrize(
    ("text", "mode", "told"),
    [
        (TOKEN, 0o640, "mode 640: others could read it; chmod 600"),
        (TOKEN, 0o604, "mode 604"),
        ("# none\n", 0o600, "holds no token"),
        ("short", 0o600, "token 1 in .* 16 characters"),
        (f"{TOKEN}\n{TOKEN} {TOKEN}", 0o600, "token 2 in"),
        ("µ" * 20, 0o600, "more than ASCII"),
    ],
)
def test_a_file_of_tokens_has_to_be_in_order(tmp_path, text, mode, told):
    with pytest.raises(UsageError, match=told):
        Tokens.read(tokens(tmp_path / "tokens", text, mode))


def test_a_file_of_tokens_has_to_be_there(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        Tokens.read(tmp_path / "absent")


def test_a_server_with_tokens_answers_only_who_has_one(serve, tmp_path):
    known = Tokens.read(tokens(tmp_path / "tokens", TOKEN))

    def admit(request: HttpRequest) -> str | None:
        return known.why_not(request.header(b"authorization"))

    with serve(admit=admit) as served:
        assert served.ask("GET", "/v2").status == 401
        assert served.ask("GET", "/v2", headers={"Authorization": f"Bearer {TOKEN}"}).status == 200
