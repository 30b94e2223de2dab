"""The part of HTTP/1.1 that the live page needs: one request for each connection, with limits on all that a client sends."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl

HEAD_MOST, BODY_MOST = 16_384, 16_384  # bytes
HEAD_TIMEOUT_S = 10.0
PIECE = 65_536  # bytes that are written before the client has to take them
JSON_TYPE = "application/json; charset=utf-8"
METHODS = ("GET", "HEAD", "POST")
_REQUEST_LINE = re.compile(r"([A-Z]{1,16}) (/[!-~]{0,2000}) HTTP/1\.[01]")
_HEADER_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*?)[ \t]*")
_ONCE = frozenset({"host", "content-length", "content-type", "authorization", "origin"})
_SAFE_HEADERS = (
    "Connection: close",
    "Cache-Control: no-store",
    "X-Content-Type-Options: nosniff",
    "Referrer-Policy: no-referrer",
    "Cross-Origin-Resource-Policy: same-origin",
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
)


class RefusedRequest(Exception):  # noqa: N818 - an answer to a client, which nobody else sees
    """A request that gets a status of 4xx or 5xx, and why."""

    def __init__(self, status: int, why: str) -> None:
        """Note the status and the reason."""
        super().__init__(why)
        self.status, self.why = status, why


@dataclass(frozen=True)
class LiveRequest:
    """A request to the live page."""

    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


async def read_request(reader: asyncio.StreamReader, *, loopback: bool) -> LiveRequest:
    """Read one request; raise RefusedRequest for one that is malformed, too large, or of another site."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1")
    except asyncio.LimitOverrunError:
        raise RefusedRequest(431, f"the head of a request has at most {HEAD_MOST} bytes") from None
    line, *rest = head.split("\r\n")
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise RefusedRequest(400, "the request line is malformed")
    headers: dict[str, str] = {}
    for one in rest:
        named = _HEADER_LINE.fullmatch(one)
        if named is None:
            raise RefusedRequest(400, "a header is malformed")
        name = named[1].lower()
        if name in headers and name in _ONCE:
            raise RefusedRequest(400, f"the header {name} comes twice")
        headers[name] = named[2]
    method, (path, _, query) = found[1], found[2].partition("?")
    if method not in METHODS:
        raise RefusedRequest(405, f"the methods are {', '.join(METHODS)}")
    _check_site(method, headers, loopback=loopback)
    body = await _body(reader, method, headers)
    try:
        fields = dict(parse_qsl(query, max_num_fields=20))
    except ValueError:
        raise RefusedRequest(400, "there are too many fields after the question mark") from None
    return LiveRequest(method, path, fields, headers, body)


async def _body(reader: asyncio.StreamReader, method: str, headers: dict[str, str]) -> bytes:
    length = headers.get("content-length", "0" if method != "POST" else "")
    if "transfer-encoding" in headers or not length:
        raise RefusedRequest(411, "a body needs a Content-Length")
    if not re.fullmatch(r"[0-9]{1,10}", length):
        raise RefusedRequest(400, "the Content-Length is not a number")
    if int(length) > BODY_MOST:
        raise RefusedRequest(413, f"a body has at most {BODY_MOST} bytes")
    return await reader.readexactly(int(length))


def _check_site(method: str, headers: dict[str, str], *, loopback: bool) -> None:
    """Refuse requests that a page of another site makes a browser send."""
    host = headers.get("host", "")
    if not host:
        raise RefusedRequest(400, "the header Host is missing")
    if loopback and not is_loopback(host_name(host)):
        # A foreign name that resolves to this machine (DNS rebinding) would make the page its own for a browser.
        raise RefusedRequest(421, "this server answers to localhost and 127.0.0.1 only")
    if method != "POST":
        return
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise RefusedRequest(403, "requests of other sites are rejected")
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2].lower() != host.lower():
        raise RefusedRequest(403, "requests of other sites are rejected")
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RefusedRequest(415, "the body has to be application/json")


def host_name(host: str) -> str:
    """Return a Host header without its port, an IPv6 address without its brackets."""
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::[0-9]{1,5})?", host)
    return found[1].strip("[]").lower() if found else ""


def is_loopback(name: str) -> bool:
    """Return whether a name or address is this machine's own."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def head_of(status: int, content_type: str, length: int | None) -> bytes:
    """Return the status line and the headers of a response; without a length it goes on until the connection closes."""
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Content-Type: {content_type}",
        *_SAFE_HEADERS,
    ]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    if status == 405:
        lines.append(f"Allow: {', '.join(METHODS)}")
    if status == 401:
        lines.append("WWW-Authenticate: Bearer")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def send_response(
    writer: asyncio.StreamWriter, status: int, content_type: str, body: bytes, *, only_head: bool = False
) -> None:
    """Send a response in pieces, so that a slow client costs no memory."""
    writer.write(head_of(status, content_type, len(body)))
    view = memoryview(b"" if only_head else body)
    for begin in range(0, len(view), PIECE):
        writer.write(view[begin : begin + PIECE])
        await writer.drain()
    await writer.drain()


async def send_refusal(writer: asyncio.StreamWriter, error: RefusedRequest) -> None:
    """Send why a request is rejected."""
    await send_response(writer, error.status, JSON_TYPE, json.dumps({"error": error.why}).encode() + b"\n")
