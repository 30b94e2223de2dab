"""Who may come in: TLS with certificates of the server and of its clients, and bearer tokens."""

from __future__ import annotations

import hashlib
import hmac
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from tamis._base import UsageError

HTTP2, HTTP1 = "h2", "http/1.1"
TOKEN_CHARACTERS_LEAST = 16
CREDENTIAL_VARIABLE = (
    "TAMIS_TOKEN"  # the variable that holds a client's token: arguments can be read by other users
)
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def server_context(
    certificate: Path, key: Path, client_ca: Path | None = None, protocol: str = HTTP2
) -> ssl.SSLContext:
    """Return what a server needs for TLS; with `client_ca`, clients have to show a certificate that it signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(
        [protocol]
    )  # a door speaks one: a client that is offered two would take the wrong one
    for path, what in ((certificate, "certificate"), (key, "key"), (client_ca, "client CA")):
        if path is not None:
            _readable(path, what)
    _show(context, certificate, key)
    if client_ca is not None:
        _trust(context, client_ca, "client CA")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@dataclass(frozen=True)
class Credentials:
    """What a client shows to a server, and whom it trusts."""

    token: str | None = None
    ca: Path | None = None  # who signs the certificates of servers, if not those whom the system trusts
    certificate: Path | None = None  # of the client, where the server wants one
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return what a client needs for TLS."""
        context = ssl.create_default_context()
        context.set_alpn_protocols([HTTP2])
        for path, what in ((self.ca, "CA"), (self.certificate, "certificate"), (self.key, "key")):
            if path is not None:
                _readable(path, what)
        if self.ca is not None:
            _trust(context, self.ca, "CA")
        if (self.certificate is None) != (self.key is None):
            raise UsageError("a client's certificate and its key go together: give both")
        if self.certificate is not None and self.key is not None:
            _show(context, self.certificate, self.key)
        return context


def _show(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        raise UsageError(_why(error, certificate, key)) from None


def _trust(context: ssl.SSLContext, ca: Path, what: str) -> None:
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError:
        raise UsageError(f"the {what} {ca} holds no certificate in PEM") from None


def _no_password() -> str:
    raise UsageError("the key is encrypted; it has to be one without a password, readable by itself alone")


def _readable(path: Path, what: str) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise UsageError(f"the {what} {path} cannot be read: {error.strerror}") from None


def _why(error: ssl.SSLError, certificate: Path, key: Path) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"the key {key} does not belong to the certificate {certificate}"
    if "BEGIN CERTIFICATE" not in certificate.read_bytes().decode("latin-1"):
        return f"the certificate {certificate} holds no certificate in PEM"
    if "PRIVATE KEY" not in key.read_bytes().decode("latin-1"):
        return f"the key {key} holds no private key in PEM"
    return f"the certificate {certificate} and the key {key} cannot be used: {error.reason or error}"


@dataclass(frozen=True)
class Tokens:
    """Bearer tokens that are let in; they are kept as digests, and compared in a time that tells nothing of them."""

    digests: tuple[bytes, ...]

    @classmethod
    def read(cls, path: Path) -> Tokens:
        """Read one token per line, from a file that nobody else can read."""
        _readable(path, "file of tokens")
        mode = path.stat().st_mode
        if mode & _OTHERS:
            raise UsageError(
                f"the file of tokens {path} has mode {stat.S_IMODE(mode):o}: others could read it; chmod 600 it"
            )
        try:
            lines = [line.strip() for line in path.read_text("ascii").splitlines()]
        except UnicodeDecodeError:
            raise UsageError(f"the file of tokens {path} holds more than ASCII") from None
        found = [line for line in lines if line and not line.startswith("#")]
        if not found:
            raise UsageError(f"the file of tokens {path} holds no token")
        for number, token in enumerate(found, 1):
            if len(token) < TOKEN_CHARACTERS_LEAST or " " in token:
                raise UsageError(
                    f"token {number} in {path} has to be {TOKEN_CHARACTERS_LEAST} characters or more, and no spaces"
                )
        return cls(tuple(_digest(token) for token in found))

    def why_not(self, authorization: str) -> str | None:
        """Return why a header does not let its request in, None where it does."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return "this server wants a token: authorization: Bearer TOKEN"
        digest = _digest(token.strip())
        known = False
        for one in self.digests:
            known |= hmac.compare_digest(one, digest)
        return None if known else "the token is not known to this server"


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
