"""HTTP/1.1 without I/O, the end that answers: bytes in, requests out, nothing unbounded on the way.

httptools reads heads and chunks. A body whose length is known and that is not there at once is received where it is to be,
past the parser: `get_buffer` hands out its place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from tamis.serve.wire import DIRECT_BYTES, Buffer
from tamis.serve.wire.content_coding import BadCodingError, unpacked

Field = tuple[bytes, bytes]

HTTP1_BUFFER_BYTES = 1 << 16
IDLE, HEAD, BODY, ENDED = range(
    4
)  # where the reading of a connection stands; ended, nothing is read any more
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
JSON: Field = (b"content-type", b"application/json")
_LINES = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus
}


@dataclass(frozen=True)
class HttpLimits:
    """What a peer may take of memory and of time."""

    body_bytes_most: int = 1 << 26  # also when unpacked
    head_bytes_most: int = 1 << 16
    pipeline_most: int = 16  # requests of a connection that are not answered yet
    head_s: float = 15.0  # from the first byte of a request to the end of its head
    body_s: float = 30.0  # within which `body_bytes_least` of a body have to come
    body_bytes_least: int = 1 << 14
    idle_s: float = 120.0  # between two requests
    write_s: float = 60.0  # without the peer reading anything of its answer
    linger_s: float = 2.0  # for a peer to read why it is cut off
    tick_s: float = 2.0  # how often the times are looked at


@dataclass(frozen=True)
class HttpConfig:
    """What requests have to keep to, and who answers them."""

    handle: Callable[[HttpRequest], None]
    limits: HttpLimits = HttpLimits()
    admit: Callable[[HttpRequest], str | None] = lambda _: None  # why a request is not let in
    reserve: Callable[[int], bool] = lambda _: True  # takes memory for a body, or tells that there is none
    release: Callable[[int], None] = lambda _: None
    scratch: memoryview = field(default_factory=lambda: memoryview(bytearray(HTTP1_BUFFER_BYTES)))


class RequestObserver(Protocol):
    """What hears of requests."""

    def begun(self, request: HttpRequest) -> None:
        """Hear that the head of a request is there."""

    def complete(self, request: HttpRequest) -> None:
        """Hear that all of it is there."""

    def answered(self, request: HttpRequest) -> None:
        """Hear that its answer is there."""


class HttpRequest:
    """A request that came in. It is answered by `answer`, at once or later, in the thread of the event loop."""

    __slots__ = (
        "_connection",
        "awaits_continue",
        "body",
        "cancelled",
        "closes",
        "headers",
        "is_old",
        "method",
        "reply",
        "reserved",
        "target",
    )

    def __init__(
        self, connection: RequestObserver, method: str, target: str, headers: dict[bytes, bytes]
    ) -> None:
        """Begin with a head."""
        self._connection = connection
        self.method, self.target, self.headers = method, target, headers
        self.body: Buffer = b""
        self.cancelled = False  # nobody waits for the answer any more
        self.closes = False  # the connection ends with the answer
        self.is_old = False  # HTTP/1.0
        self.awaits_continue = False
        self.reserved = 0  # bytes
        self.reply: tuple[int, Sequence[Field], Sequence[Buffer]] | None = None

    def header(self, name: bytes) -> str:
        """Return a header, nothing where it did not come."""
        return self.headers.get(name, b"").decode("latin-1")

    def answer(self, status: int, headers: Sequence[Field], chunks: Sequence[Buffer]) -> None:
        """Answer; the chunks are not joined, and are not changed by anybody until they are sent."""
        if self.reply is None:
            self.reply = status, headers, chunks
            self._connection.answered(self)

    def fail(self, status: int, told: str, headers: Sequence[Field] = ()) -> None:
        """Answer with an error."""
        self.answer(status, (JSON, *headers), (json.dumps({"error": told}).encode(),))

    def written(self) -> list[Buffer]:
        """Return the answer as it travels."""
        assert self.reply is not None  # noqa: S101 - it was given
        status, headers, chunks = self.reply
        pieces = [_LINES[status]]
        pieces += [b"%b: %b\r\n" % one for one in headers]
        pieces.append(b"content-length: %d\r\n" % sum([len(chunk) for chunk in chunks]))
        if self.closes:
            pieces.append(b"connection: close\r\n")
        elif self.is_old:
            pieces.append(b"connection: keep-alive\r\n")
        pieces.append(b"\r\n")
        found: list[Buffer] = [b"".join(pieces)]
        if self.method != "HEAD":
            found += chunks
        return found


class RequestParser:
    """Makes requests of bytes."""

    def __init__(self, rules: HttpConfig, connection: RequestObserver) -> None:
        """Begin to read."""
        self._rules, self._limits, self._connection = rules, rules.limits, connection
        self._parser = HttpRequestParser(self)
        self.phase = IDLE
        self.received = 0  # bytes of the body that is coming
        self.is_broken = False  # ended in the midst of what the peer sends
        self._quiet = 0  # bytes that led to nothing yet
        self._moved = self._direct = False
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._request: HttpRequest | None = None
        self._length: int | None = None  # None: the body comes in chunks, or there is none
        self._whole: bytes | None = None  # the body, where it came in one piece
        self._body: bytearray | None = None  # where it comes in several
        self._done: list[HttpRequest] = []

    def get_buffer(self) -> memoryview:
        """Return where the next bytes belong."""
        if self._direct and self._body is not None:
            return memoryview(self._body)[self.received :]
        return self._rules.scratch

    def buffer_updated(self, size: int) -> None:
        """Work on what came."""
        if not self._direct:
            self._feed(self._rules.scratch[:size])
            return
        self.received += size
        if self.received == self._length:
            self._direct = False
            self._parser = HttpRequestParser(self)  # the one before still waits for that body
            self.on_message_complete()
            self._hand_over()

    def _feed(self, data: memoryview) -> None:
        if self.phase == ENDED:
            return
        self._moved = False
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:  # we know nothing else to go on with: the request is answered as it is
            self.end()
        except HttpParserError as error:
            self.broken(400, f"this is no HTTP/1.1: {error}")
        self._hand_over()
        self._quiet = 0 if self._moved else self._quiet + len(data)
        if self._quiet > self._limits.head_bytes_most:
            self.broken(431, f"the head of the request is longer than {self._limits.head_bytes_most} bytes")
        if self.phase == BODY and self._length is not None:
            self._direct = self._length - self.received >= DIRECT_BYTES
            if self._direct and self._body is None:
                self._body = bytearray(self._length)

    def _hand_over(self) -> None:
        """Let what is complete be answered: outside of the parser, which would hide an error."""
        done, self._done = self._done, []
        for request in done:
            self._connection.complete(request)

    def end(self) -> None:
        """Read nothing any more."""
        self.phase, self._direct = ENDED, False
        self._request = self._whole = self._body = None

    def cut(self) -> None:
        """Notice that nothing more will come."""
        if self.phase in (HEAD, BODY):
            self.broken(400, "the request was cut short")
        self.end()

    def broken(self, status: int, told: str, *headers: Field) -> None:
        """Answer what is being read with an error, the last answer of this connection."""
        if self.phase == ENDED:
            return
        request = self._request
        if request is None:
            request = HttpRequest(self._connection, "", "", {})
            self._connection.begun(request)
        self.end()
        self.is_broken = True
        request.closes, request.awaits_continue = True, False
        request.fail(status, told, headers)

    # what the parser calls

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self.phase != ENDED:
            self.phase = HEAD
            self._url, self._headers, self.received = b"", {}, 0

    def on_url(self, piece: bytes) -> None:
        """Take a piece of what is asked for."""
        self._url += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; what comes behind a body in chunks is not heeded."""
        if self.phase != HEAD:
            return
        name = name.lower()
        before = self._headers.get(name)
        self._headers[name] = value if before is None else before + b", " + value

    def on_headers_complete(self) -> None:
        """Decide whether the body is let in."""
        if self.phase == ENDED:
            return
        self._moved = True
        parser, headers = self._parser, self._headers
        method = parser.get_method().decode("latin-1")
        request = HttpRequest(self._connection, method, self._url.decode("latin-1"), headers)
        request.closes = not parser.should_keep_alive()
        request.is_old = parser.get_http_version() == "1.0"
        self.phase, self._request, self._whole, self._body = BODY, request, None, None
        length = headers.get(b"content-length")
        self._length = None if length is None else int(length)
        expects = b"expect" in headers and not request.is_old
        request.awaits_continue = expects
        self._connection.begun(request)
        if expects and headers[b"expect"].lower() != b"100-continue":
            self.broken(417, f"what Expect asks for is not known: {request.header(b'expect')[:40]!r}")
        elif headers.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
            self.broken(501, "of all transfer encodings, only chunked is understood")
        elif why_not := self._rules.admit(request):
            self.broken(401, why_not, (b"www-authenticate", b"Bearer"))
        elif self._length:
            self._make_room(self._length)

    def _make_room(self, size: int) -> None:
        most = self._limits.body_bytes_most
        if size > most:
            self.broken(413, f"the body has {size} bytes; this server takes {most} at most")
        else:
            self._reserve(size)

    def _reserve(self, size: int) -> bool:
        if self._request is None or not self._rules.reserve(size):
            self.broken(503, "too many bytes of requests are in the server; try again later")
            return False
        self._request.reserved += size
        return True

    def on_body(self, piece: bytes) -> None:
        """Take a piece of the body."""
        if self.phase == ENDED:
            return
        self._moved = True
        size = len(piece)
        if self._length is None:  # in chunks
            most = self._limits.body_bytes_most
            if self.received + size > most:
                self.broken(413, f"the body has more than the {most} bytes that this server takes")
                return
            if not self._reserve(size):
                return
        elif size == self._length:
            self._whole, self.received = piece, size
            return
        if self._body is None:
            self._body = bytearray(self._length or 0)
        self._body[self.received : self.received + size] = piece
        self.received += size

    def on_message_complete(self) -> None:
        """Take a request that is all there."""
        request = self._request
        if self.phase == ENDED or request is None:
            return
        self._moved = True
        body: Buffer = self._whole or self._body or b""
        coding = request.header(b"content-encoding").strip().lower()
        if coding not in {"", "identity"}:
            try:
                body = unpacked(body, coding, self._limits.body_bytes_most, self._reserve)
            except BadCodingError as error:
                self.broken(error.status, str(error))
                return
        request.body = body
        request.awaits_continue = False
        self._request, self._whole, self._body, self.phase = None, None, None, IDLE
        if request.closes:
            self.end()
        self._done.append(request)
