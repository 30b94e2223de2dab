"""HTTP/1.1 without I/O, the server side: bytes in, requests out, with a limit on everything that a client can make grow.

httptools parses heads and chunks. A body of known length that does not arrive at once is received straight into its own
memory, past the parser: `get_buffer` returns that memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from tamis.serve.wire import DIRECT_BYTES, Buffer
from tamis.serve.wire.content_coding import BadCodingError, decompress_body

Field = tuple[bytes, bytes]

HTTP1_BUFFER_BYTES = 1 << 16
IDLE, HEAD, BODY, ENDED = range(4)  # phases of reading a connection; after ENDED nothing is read
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
JSON: Field = (b"content-type", b"application/json")
_STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus
}


@dataclass(frozen=True)
class HttpLimits:
    """Limits on the memory and time that a client may use."""

    max_body_bytes: int = 1 << 26  # as sent, and decompressed
    max_head_bytes: int = 1 << 16
    max_pipelined: int = 16  # unanswered requests of one connection
    head_s: float = 15.0  # from the first byte of a request to the end of its head
    body_s: float = 30.0  # in which `min_body_bytes` of a body have to arrive
    min_body_bytes: int = 1 << 14
    idle_s: float = 120.0  # between two requests
    write_s: float = 60.0  # in which the client has to read some of its response
    linger_s: float = 2.0  # for the client to read the error before the connection is closed
    tick_s: float = 2.0  # how often the time limits are checked


@dataclass(frozen=True)
class HttpConfig:
    """The handler of requests, and their limits."""

    handle: Callable[[HttpRequest], None]
    limits: HttpLimits = HttpLimits()
    authorize: Callable[[HttpRequest], str | None] = lambda _: None  # returns why a request is rejected
    reserve: Callable[[int], bool] = lambda _: True  # reserves memory for a body if there is enough
    release: Callable[[int], None] = lambda _: None
    receive_buffer: memoryview = field(default_factory=lambda: memoryview(bytearray(HTTP1_BUFFER_BYTES)))


class RequestObserver(Protocol):
    """The connection of a request, notified of its progress."""

    def request_started(self, request: HttpRequest) -> None:
        """Handle a request whose head has arrived."""

    def request_received(self, request: HttpRequest) -> None:
        """Handle a request that has arrived completely."""

    def request_answered(self, request: HttpRequest) -> None:
        """Handle a request whose response is ready."""


class HttpRequest:
    """A request. Call `respond` or `fail` once, at once or later, in the thread of the event loop."""

    __slots__ = (
        "_connection",
        "awaits_continue",
        "body",
        "cancelled",
        "closes",
        "headers",
        "is_http10",
        "method",
        "reply",
        "reserved",
        "target",
    )

    def __init__(
        self, connection: RequestObserver, method: str, target: str, headers: dict[bytes, bytes]
    ) -> None:
        """Start with the head."""
        self._connection = connection
        self.method, self.target, self.headers = method, target, headers
        self.body: Buffer = b""
        self.cancelled = False  # the client has gone
        self.closes = False  # the connection ends with the response
        self.is_http10 = False
        self.awaits_continue = False
        self.reserved = 0  # bytes
        self.reply: tuple[int, Sequence[Field], Sequence[Buffer]] | None = None

    def header(self, name: bytes) -> str:
        """Return a header, or an empty string."""
        return self.headers.get(name, b"").decode("latin-1")

    def respond(self, status: int, headers: Sequence[Field], chunks: Sequence[Buffer]) -> None:
        """Set the response; its chunks are not copied and must not change until they are sent."""
        if self.reply is None:
            self.reply = status, headers, chunks
            self._connection.request_answered(self)

    def fail(self, status: int, message: str, headers: Sequence[Field] = ()) -> None:
        """Respond with an error."""
        self.respond(status, (JSON, *headers), (json.dumps({"error": message}).encode(),))

    def encode_response(self) -> list[Buffer]:
        """Return the bytes of the response."""
        assert self.reply is not None  # noqa: S101 - called for answered requests
        status, headers, chunks = self.reply
        pieces = [_STATUS_LINES[status]]
        pieces += [b"%b: %b\r\n" % header for header in headers]
        pieces.append(b"content-length: %d\r\n" % sum([len(chunk) for chunk in chunks]))
        if self.closes:
            pieces.append(b"connection: close\r\n")
        elif self.is_http10:
            pieces.append(b"connection: keep-alive\r\n")
        pieces.append(b"\r\n")
        encoded: list[Buffer] = [b"".join(pieces)]
        if self.method != "HEAD":
            encoded += chunks
        return encoded


class RequestParser:
    """Parses the bytes of a connection into requests."""

    def __init__(self, config: HttpConfig, connection: RequestObserver) -> None:
        """Start between two requests."""
        self._config, self._limits, self._connection = config, config.limits, connection
        self._parser = HttpRequestParser(self)
        self.phase = IDLE
        self.received = 0  # bytes of the current body
        self.failed = False  # ended by an error in what the client sent
        self._unused = 0  # bytes fed since the parser last got anywhere
        self._progressed = self._direct = self._repeats_head = False
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._request: HttpRequest | None = None
        self._length: int | None = None  # None: the body is chunked, or empty
        self._whole: bytes | None = None  # a body that arrived in one piece
        self._body: bytearray | None = None  # a body that arrives in several
        self._done: list[HttpRequest] = []

    def get_buffer(self) -> memoryview:
        """Return the memory for the next bytes."""
        if self._direct and self._body is not None:
            return memoryview(self._body)[self.received :]
        return self._config.receive_buffer

    def buffer_updated(self, size: int) -> None:
        """Handle `size` bytes that were received into the memory from `get_buffer`."""
        if not self._direct:
            self._feed(self._config.receive_buffer[:size])
            return
        self.received += size
        if self.received == self._length:
            self._direct = False
            self._parser = HttpRequestParser(self)  # the previous one still waits for that body
            self.on_message_complete()
            self._pass_on()

    def _feed(self, data: memoryview) -> None:
        if self.phase == ENDED:
            return
        self._progressed = False
        remaining = data
        while len(remaining) and self.phase != ENDED:
            try:
                self._parser.feed_data(remaining)
                break
            except (
                HttpParserUpgrade
            ) as upgrade:  # no other protocol is supported: the connection stays with this one
                self._parser = HttpRequestParser(self)
                if self._request is not None:
                    self._expect_body()
                remaining = remaining[upgrade.args[0] :]
            except HttpParserError as error:
                self.abort(400, f"the request is not HTTP/1.1: {error}")
        self._pass_on()
        self._unused = 0 if self._progressed else self._unused + len(data)
        if self._unused > self._limits.max_head_bytes:
            self.abort(431, f"the head of the request is longer than {self._limits.max_head_bytes} bytes")
        if self.phase == BODY and self._length is not None:
            self._direct = self._length - self.received >= DIRECT_BYTES
            if self._direct and self._body is None:
                self._body = bytearray(self._length)

    def _expect_body(self) -> None:
        """Prepare a new parser for the body of the current request, which the previous one took for another protocol."""
        length = (
            b"Transfer-Encoding: chunked" if self._length is None else b"Content-Length: %d" % self._length
        )
        self._repeats_head = True
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % length)
        self._repeats_head = False

    def _pass_on(self) -> None:
        """Pass complete requests on, outside the parser's callbacks, which would swallow an exception."""
        done, self._done = self._done, []
        for request in done:
            self._connection.request_received(request)

    def end(self) -> None:
        """Stop reading."""
        self.phase, self._direct = ENDED, False
        self._request = self._whole = self._body = None

    def end_of_input(self) -> None:
        """Stop reading; a request that is incomplete fails."""
        if self.phase in (HEAD, BODY):
            self.abort(400, "the request is truncated")
        self.end()

    def abort(self, status: int, message: str, *headers: Field) -> None:
        """Fail the current request and stop reading: this is the last response of the connection."""
        if self.phase == ENDED:
            return
        request = self._request
        if request is None:
            request = HttpRequest(self._connection, "", "", {})
            self._connection.request_started(request)
        self.end()
        self.failed = True
        request.closes, request.awaits_continue = True, False
        request.fail(status, message, headers)

    # callbacks of httptools

    def on_message_begin(self) -> None:
        """Start a request."""
        if self.phase != ENDED and not self._repeats_head:
            self.phase = HEAD
            self._url, self._headers, self.received = b"", {}, 0

    def on_url(self, piece: bytes) -> None:
        """Add a piece of the request target."""
        if not self._repeats_head:
            self._url += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header; trailers of a chunked body are ignored."""
        if self.phase != HEAD:
            return
        name = name.lower()
        before = self._headers.get(name)
        self._headers[name] = value if before is None else before + b", " + value

    def on_headers_complete(self) -> None:
        """Authorize the request and check its size before its body is read."""
        if self.phase == ENDED or self._repeats_head:
            return
        self._progressed = True
        parser, headers = self._parser, self._headers
        method = parser.get_method().decode("latin-1")
        request = HttpRequest(self._connection, method, self._url.decode("latin-1"), headers)
        request.closes = not parser.should_keep_alive()
        request.is_http10 = parser.get_http_version() == "1.0"
        self.phase, self._request, self._whole, self._body = BODY, request, None, None
        length = headers.get(b"content-length")
        self._length = None if length is None else int(length)
        expects = b"expect" in headers and not request.is_http10
        request.awaits_continue = expects
        self._connection.request_started(request)
        if expects and headers[b"expect"].lower() != b"100-continue":
            self.abort(417, f"the expectation {request.header(b'expect')[:40]!r} is not supported")
        elif headers.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
            self.abort(501, "the only transfer encoding supported is chunked")
        elif reason := self._config.authorize(request):
            self.abort(401, reason, (b"www-authenticate", b"Bearer"))
        elif self._length:
            limit = self._limits.max_body_bytes
            if self._length > limit:
                self.abort(413, f"the body has {self._length} bytes; this server accepts at most {limit}")
            else:
                self._reserve(self._length)

    def _reserve(self, size: int) -> bool:
        if self._request is None or not self._config.reserve(size):
            self.abort(503, "the server's memory for requests is full; try again later")
            return False
        self._request.reserved += size
        return True

    def on_body(self, piece: bytes) -> None:
        """Add a piece of the body."""
        if self.phase == ENDED:
            return
        self._progressed = True
        size = len(piece)
        if self._length is None:  # chunked
            limit = self._limits.max_body_bytes
            if self.received + size > limit:
                self.abort(413, f"the body is larger than the {limit} bytes that this server accepts")
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
        """Finish a request."""
        request = self._request
        if self.phase == ENDED or request is None:
            return
        if self._parser.should_upgrade() and (self._length or b"transfer-encoding" in self._headers):
            return  # its body follows
        self._progressed = True
        body: Buffer = self._whole or self._body or b""
        coding = request.header(b"content-encoding").strip().lower()
        if coding not in {"", "identity"}:
            try:
                body = decompress_body(body, coding, self._limits.max_body_bytes, self._reserve)
            except BadCodingError as error:
                self.abort(error.status, str(error))
                return
        request.body = body
        request.awaits_continue = False
        self._request, self._whole, self._body, self.phase = None, None, None, IDLE
        if request.closes:
            self.end()
        self._done.append(request)
