"""gRPC over HTTP/2, the server side: messages in, messages and a status out."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from time import monotonic_ns
from typing import NamedTuple
from urllib.parse import quote

from tamis.serve.wire import Buffer
from tamis.serve.wire.frames import Header
from tamis.serve.wire.messages import MessageStream, decompress_message, message_prefix
from tamis.serve.wire.sending import Http2Sender

_TIMEOUT_UNITS_NS = {
    "H": 3_600_000_000_000,
    "M": 60_000_000_000,
    "S": 1_000_000_000,
    "m": 1_000_000,
    "u": 1_000,
    "n": 1,
}
_MAX_TIMEOUT_DIGITS = 8


def literal_header(name: bytes, value: bytes) -> bytes:
    """Return a header as an HPACK literal that does not enter the dynamic table (RFC 7541, 6.2.2)."""
    assert len(name) < 127  # noqa: S101 - the length is one byte
    size = len(value)
    if size < 127:
        length = bytes([size])
    else:
        rest, encoded = size - 127, bytearray(b"\x7f")
        while rest >= 128:
            encoded.append(rest & 127 | 128)
            rest >>= 7
        encoded.append(rest)
        length = bytes(encoded)
    return b"\x00" + bytes([len(name)]) + name + length + value


_STATUS_200 = b"\x88"  # :status 200, from the static table
_HEADERS = _STATUS_200 + literal_header(b"content-type", b"application/grpc")
_TRAILERS_OK = literal_header(b"grpc-status", b"0")
_NOT_GRPC = b"\x08\x03415" + literal_header(b"content-type", b"text/plain")


class Status(IntEnum):
    """Status codes of gRPC."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class CallHeaders(NamedTuple):
    """The headers of a call."""

    path: str
    is_grpc: bool
    timeout_ns: int | None
    encoding: str
    authorization: str
    error: str = ""  # why the headers are invalid


def parse_call_headers(headers: Sequence[Header]) -> CallHeaders:
    """Parse the headers of a call."""
    values = {bytes(name): bytes(value) for name, value in headers}

    def text(name: bytes) -> str:
        return values.get(name, b"").decode("latin-1")

    timeout_ns, error = None, ""
    if b"grpc-timeout" in values:
        timeout = text(b"grpc-timeout")
        digits, unit = timeout[:-1], timeout[-1:]
        is_number = digits.isascii() and digits.isdigit() and len(digits) <= _MAX_TIMEOUT_DIGITS
        if is_number and unit in _TIMEOUT_UNITS_NS:
            timeout_ns = int(digits) * _TIMEOUT_UNITS_NS[unit]
        else:
            error = f"the header grpc-timeout is {timeout[:40]!r}; expected up to 8 digits and a unit"
    is_grpc = text(b"content-type").startswith("application/grpc") and text(b":method") == "POST"
    encoding = text(b"grpc-encoding") or "identity"
    return CallHeaders(text(b":path"), is_grpc, timeout_ns, encoding, text(b"authorization"), error)


@dataclass(frozen=True)
class Method:
    """The handlers of a method: `on_message` for each message, `on_half_close` when the client has sent its last."""

    on_message: Callable[[ServerCall, Buffer], None]
    on_half_close: Callable[[ServerCall], None] | None = None  # None for a unary method

    @property
    def is_streaming(self) -> bool:
        """Whether either side may send any number of messages."""
        return self.on_half_close is not None


@dataclass(frozen=True)
class GrpcConfig:
    """The methods of a server, and the limits of its calls."""

    methods: Mapping[str, Method]
    max_message_bytes: int
    authorize: Callable[[CallHeaders], str | None] = lambda _: None  # returns why a call is rejected
    reserve: Callable[[int], bool] = lambda _: True  # reserves memory for a message if there is enough
    release: Callable[[int], None] = lambda _: None


class ServerCall(MessageStream):
    """A call from a client. End it with `respond`, with any number of `send_message` and `finish`, or with `fail`."""

    __slots__ = (
        "_headers",
        "_method",
        "_request",
        "_reserved",
        "_responding",
        "cancelled",
        "config",
        "deadline_ns",
        "open_responses",
    )

    def __init__(self, connection: Http2Sender, stream_id: int, config: GrpcConfig) -> None:
        """Open a call."""
        super().__init__(connection, stream_id)
        self.config = config
        self.deadline_ns: int | None = None  # on the monotonic clock
        self.cancelled = False
        self.open_responses = 0  # for the handlers of streaming methods
        self._headers: CallHeaders | None = None
        self._method: Method | None = None
        self._reserved = 0
        self._request: Buffer | None = None  # the message of a unary call
        self._responding = False

    # receiving

    def on_headers(self, headers: CallHeaders) -> None:
        """Authorize the call and look up its method."""
        if self._headers is not None:
            return  # a client's trailers carry nothing
        self._headers = headers
        if not headers.is_grpc:
            self.connection.send_headers(self, _NOT_GRPC, ends=True)
            return
        reason = headers.error or self.config.authorize(headers)
        if reason:
            self.fail(Status.INVALID_ARGUMENT if headers.error else Status.UNAUTHENTICATED, reason)
            return
        self._method = self.config.methods.get(headers.path)
        if self._method is None:
            self.fail(Status.UNIMPLEMENTED, f"there is no method {headers.path[:200]}")
        elif headers.timeout_ns is not None:
            self.deadline_ns = monotonic_ns() + headers.timeout_ns

    def accept_message(self, size: int) -> bool:
        """Reserve memory for a message, or fail the call."""
        limit = self.config.max_message_bytes
        if size > limit:
            self.fail(
                Status.RESOURCE_EXHAUSTED,
                f"the message has {size} bytes; this server accepts at most {limit}",
            )
        elif not self.config.reserve(size):
            self.fail(Status.RESOURCE_EXHAUSTED, "the server's memory for requests is full; try again later")
        else:
            self._reserved += size
            return True
        return False

    def on_message(self, message: Buffer, compressed: bool) -> None:
        """Keep the message of a unary call until the client has finished; pass those of a stream on at once."""
        content = self._decompress(message) if compressed else message
        method = self._method
        if content is None or method is None:
            return
        if method.is_streaming:
            method.on_message(self, content)
        elif self._request is not None:
            self.fail(Status.INVALID_ARGUMENT, "this method takes one message, but the client sent more")
        else:
            self._request = content

    def _decompress(self, message: Buffer) -> bytes | None:
        """Return the decompressed message, or fail the call."""
        encoding = self._headers.encoding if self._headers else ""
        if encoding not in {"gzip", "deflate"}:
            self.fail(
                Status.UNIMPLEMENTED,
                f"the message encoding {encoding[:40]!r} is not supported; use gzip or deflate",
            )
            return None
        limit = self.config.max_message_bytes
        try:
            content = decompress_message(message, encoding, limit)
        except zlib.error as error:
            self.fail(Status.INVALID_ARGUMENT, f"the message is not valid {encoding}: {error}")
            return None
        if content is None:
            self.fail(
                Status.RESOURCE_EXHAUSTED,
                f"the message is truncated, or larger than {limit} bytes when decompressed",
            )
        return content

    def on_end(self) -> None:
        """Run the handler: the client has sent everything."""
        method = self._method
        if self.closed or method is None:
            return
        if self.is_truncated:
            self.fail(Status.INVALID_ARGUMENT, "the call ended in the middle of a message")
        elif method.on_half_close is not None:
            method.on_half_close(self)
        elif self._request is None:
            self.fail(Status.INVALID_ARGUMENT, "the call ended without a message")
        else:
            message, self._request = self._request, None
            method.on_message(self, message)

    def on_reset(self, code: int) -> None:
        """Mark the call as cancelled."""
        del code
        self.cancelled = True
        self._release()

    def _release(self) -> None:
        self.discard_partial()
        self._request = None
        if self._reserved:
            self.config.release(self._reserved)
            self._reserved = 0

    # responding

    def respond(self, size: int, chunks: Sequence[Buffer]) -> None:
        """Send the only response, whose chunks have `size` bytes in all, and end the call."""
        if self.closed:
            return
        self._release()
        self.connection.send_whole(self, _HEADERS, (message_prefix(size), *chunks), _TRAILERS_OK)

    def send_message(self, size: int, chunks: Sequence[Buffer]) -> None:
        """Send one of several responses."""
        if self.closed:
            return
        if not self._responding:
            self._responding = True
            self.connection.send_headers(self, _HEADERS)
        self.connection.send_data(self, (message_prefix(size), *chunks))

    def finish(self) -> None:
        """End a call with several responses."""
        if self.closed:
            return
        self._release()
        if not self._responding:
            self._responding = True
            self.connection.send_headers(self, _HEADERS)
        self.connection.send_headers(self, _TRAILERS_OK, ends=True)

    def fail(self, status: Status, message: str) -> None:
        """End the call with an error."""
        if self.closed:
            return
        self._release()
        trailers = literal_header(b"grpc-status", b"%d" % status)
        trailers += literal_header(
            b"grpc-message", quote(message[:1000], safe=" !#$&'()*+,/:;=?@[]").encode()
        )
        self.connection.send_headers(self, trailers if self._responding else _HEADERS + trailers, ends=True)
