"""TLS with certificates of the server and of its clients, and bearer tokens."""

from __future__ import annotations

import hashlib
import hmac
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from tamis._base import UsageError

HTTP2, HTTP1 = "h2", "http/1.1"  # protocol names of ALPN
MIN_TOKEN_CHARACTERS = 16
CREDENTIAL_VARIABLE = "TAMIS_TOKEN"  # holds a client's token: other users can read command lines
_ACCESS_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def server_context(
    certificate: Path, key: Path, client_ca: Path | None = None, protocol: str = HTTP2
) -> ssl.SSLContext:
    """Return a server's TLS context; with `client_ca`, clients must present a certificate that it signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # A port speaks one protocol: a client that is offered two might choose the other.
    context.set_alpn_protocols([protocol])
    for path, what in ((certificate, "certificate"), (key, "key"), (client_ca, "client CA")):
        if path is not None:
            _check_readable(path, what)
    _load_certificate(context, certificate, key)
    if client_ca is not None:
        _load_ca(context, client_ca, "client CA")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@dataclass(frozen=True)
class Credentials:
    """A client's token and certificate, and the authority that it trusts."""

    token: str | None = None
    ca: Path | None = None  # signs the servers' certificates; None for the authorities that the system trusts
    certificate: Path | None = None  # of the client, where the server requires one
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return a client's TLS context."""
        context = ssl.create_default_context()
        context.set_alpn_protocols([HTTP2])
        for path, what in ((self.ca, "CA"), (self.certificate, "certificate"), (self.key, "key")):
            if path is not None:
                _check_readable(path, what)
        if self.ca is not None:
            _load_ca(context, self.ca, "CA")
        if (self.certificate is None) != (self.key is None):
            raise UsageError("a client's certificate and its key go together: pass both")
        if self.certificate is not None and self.key is not None:
            _load_certificate(context, self.certificate, self.key)
        return context


def _load_certificate(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        raise UsageError(_certificate_error(error, certificate, key)) from None


def _load_ca(context: ssl.SSLContext, ca: Path, what: str) -> None:
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError:
        raise UsageError(f"the {what} {ca} contains no certificate in PEM format") from None


def _no_password() -> str:
    raise UsageError(
        "the key is encrypted; use a key without a password, in a file that only its owner can read"
    )


def _check_readable(path: Path, what: str) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise UsageError(f"the {what} {path} cannot be read: {error.strerror}") from None


def _certificate_error(error: ssl.SSLError, certificate: Path, key: Path) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"the key {key} does not belong to the certificate {certificate}"
    if "BEGIN CERTIFICATE" not in certificate.read_bytes().decode("latin-1"):
        return f"the certificate {certificate} contains no certificate in PEM format"
    if "PRIVATE KEY" not in key.read_bytes().decode("latin-1"):
        return f"the key {key} contains no private key in PEM format"
    return f"the certificate {certificate} and the key {key} cannot be used: {error.reason or error}"


@dataclass(frozen=True)
class Tokens:
    """The bearer tokens that a server accepts, stored as digests and compared in constant time."""

    digests: tuple[bytes, ...]

    @classmethod
    def read(cls, path: Path) -> Tokens:
        """Read one token per line, from a file that only its owner can read."""
        _check_readable(path, "token file")
        mode = path.stat().st_mode
        if mode & _ACCESS_BY_OTHERS:
            raise UsageError(
                f"the token file {path} has mode {stat.S_IMODE(mode):o}: others can access it; run chmod 600 on it"
            )
        try:
            lines = [line.strip() for line in path.read_text("ascii").splitlines()]
        except UnicodeDecodeError:
            raise UsageError(f"the token file {path} has characters outside ASCII") from None
        tokens = [line for line in lines if line and not line.startswith("#")]
        if not tokens:
            raise UsageError(f"the token file {path} contains no token")
        for number, token in enumerate(tokens, 1):
            if len(token) < MIN_TOKEN_CHARACTERS or " " in token:
                raise UsageError(
                    f"token {number} in {path} must have at least {MIN_TOKEN_CHARACTERS} characters and no spaces"
                )
        return cls(tuple(_digest(token) for token in tokens))

    def reject_reason(self, authorization: str) -> str | None:
        """Return why an Authorization header is rejected, None if it is accepted."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return "this server requires a token: send the header Authorization: Bearer TOKEN"
        digest = _digest(token.strip())
        accepted = False
        for known in self.digests:
            accepted |= hmac.compare_digest(known, digest)
        return None if accepted else "the token is not known to this server"


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
