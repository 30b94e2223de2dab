"""gRPC over HTTP/2, the end that answers: messages in, messages out, a status at the end."""

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
from tamis.serve.wire.messages import MessageStream, message_prefix, unpacked
from tamis.serve.wire.sending import Http2Sender

_UNITS = {"H": 3_600_000_000_000, "M": 60_000_000_000, "S": 1_000_000_000, "m": 1_000_000, "u": 1_000, "n": 1}
_DIGITS_MOST = 8


def literal_header(name: bytes, value: bytes) -> bytes:
    """Return a header that no table keeps."""
    assert len(name) < 127 and len(value) < 127  # noqa: S101, PT018 - of one byte each, as ours are
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


_OK = b"\x88"  # :status 200, from the static table
_HEAD = _OK + literal_header(b"content-type", b"application/grpc")
_DONE = literal_header(b"grpc-status", b"0")
_NOT_GRPC = b"\x08\x03415" + literal_header(b"content-type", b"text/plain")


class Status(IntEnum):
    """Codes that a call ends with."""

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
    """What headers say of a call."""

    path: str
    is_grpc: bool
    timeout_ns: int | None
    encoding: str
    authorization: str
    wrong: str = ""


def parse_call_headers(headers: Sequence[Header]) -> CallHeaders:
    """Read the headers of a call."""
    found = {bytes(name): bytes(value) for name, value in headers}

    def text(name: bytes) -> str:
        return found.get(name, b"").decode("latin-1")

    timeout, wrong = None, ""
    if b"grpc-timeout" in found:
        timeout = _timeout_ns(text(b"grpc-timeout"))
        wrong = "" if timeout is not None else f"the header grpc-timeout is {text(b'grpc-timeout')[:40]!r}"
    is_grpc = text(b"content-type").startswith("application/grpc") and text(b":method") == "POST"
    return CallHeaders(
        text(b":path"), is_grpc, timeout, text(b"grpc-encoding") or "identity", text(b"authorization"), wrong
    )


def _timeout_ns(text: str) -> int | None:
    digits, unit = text[:-1], text[-1:]
    known = unit in _UNITS and digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS_MOST
    return int(digits) * _UNITS[unit] if known else None


@dataclass(frozen=True)
class Method:
    """What answers a method: `message` is called with every message, `half_closed` when no more will come."""

    message: Callable[[ServerCall, Buffer], None]
    half_closed: Callable[[ServerCall], None] | None = None  # None: one message, and it is answered with one

    @property
    def streams(self) -> bool:
        """Tell whether there may be any number of messages in either direction."""
        return self.half_closed is not None


@dataclass(frozen=True)
class GrpcConfig:
    """What calls have to keep to."""

    methods: Mapping[str, Method]
    message_bytes_most: int
    admit: Callable[[CallHeaders], str | None] = lambda _: None  # why a call is not let in
    reserve: Callable[[int], bool] = lambda _: True  # takes memory for a message, or tells that there is none
    release: Callable[[int], None] = lambda _: None


class ServerCall(MessageStream):
    """A call that came in. It is answered by `answer`, or by any number of `send` and `finish`, or ended by `fail`."""

    __slots__ = (
        "_answering",
        "_asked",
        "_method",
        "_reserved",
        "_waiting",
        "cancelled",
        "deadline_ns",
        "open_answers",
        "rules",
    )

    def __init__(self, connection: Http2Sender, stream_id: int, rules: GrpcConfig) -> None:
        """Begin a call."""
        super().__init__(connection, stream_id)
        self.rules = rules
        self.deadline_ns: int | None = None  # on the monotonic clock
        self.cancelled = False
        self.open_answers = 0  # for whoever answers a stream
        self._asked: CallHeaders | None = None
        self._method: Method | None = None
        self._reserved = 0
        self._waiting: Buffer | None = None  # the one message of a call that has only one
        self._answering = False

    # what comes in

    def on_headers(self, headers: CallHeaders) -> None:
        """Look up the method."""
        if self._asked is not None:
            return  # trailers of the one who asks: there is nothing in them
        self._asked = headers
        if not headers.is_grpc:
            self.connection.send_headers(self, _NOT_GRPC, ends=True)
            return
        why_not = headers.wrong or self.rules.admit(headers)
        if why_not:
            self.fail(Status.INVALID_ARGUMENT if headers.wrong else Status.UNAUTHENTICATED, why_not)
            return
        self._method = self.rules.methods.get(headers.path)
        if self._method is None:
            self.fail(Status.UNIMPLEMENTED, f"there is no method {headers.path[:200]}")
        elif headers.timeout_ns is not None:
            self.deadline_ns = monotonic_ns() + headers.timeout_ns

    def admit(self, size: int) -> bool:
        """Take memory for a message, or end the call."""
        if size > self.rules.message_bytes_most:
            self.fail(
                Status.RESOURCE_EXHAUSTED,
                f"the message has {size} bytes; this server takes {self.rules.message_bytes_most} at most",
            )
        elif not self.rules.reserve(size):
            self.fail(
                Status.RESOURCE_EXHAUSTED, "too many bytes of requests are in the server; try again later"
            )
        else:
            self._reserved += size
            return True
        return False

    def on_message(self, message: Buffer, packed: bool) -> None:
        """Keep the one message of a call until the end; those of a stream are answered as they come."""
        found = self._unpacked(message) if packed else message
        method = self._method
        if found is None or method is None:
            return
        if method.streams:
            method.message(self, found)
        elif self._waiting is not None:
            self.fail(Status.INVALID_ARGUMENT, "this method takes one message, and more came")
        else:
            self._waiting = found

    def _unpacked(self, message: Buffer) -> bytes | None:
        """Return a message that was compressed, or end the call."""
        encoding = self._asked.encoding if self._asked else ""
        if encoding not in {"gzip", "deflate"}:
            self.fail(
                Status.UNIMPLEMENTED,
                f"messages compressed as {encoding[:40]!r} are not understood; gzip and deflate are",
            )
            return None
        most = self.rules.message_bytes_most
        try:
            found = unpacked(message, encoding, most)
        except zlib.error as error:
            self.fail(Status.INVALID_ARGUMENT, f"the message is no {encoding}: {error}")
            return None
        if found is None:
            self.fail(
                Status.RESOURCE_EXHAUSTED,
                f"the message is cut short, or more than {most} bytes when unpacked",
            )
        return found

    def on_end(self) -> None:
        """Answer, now that all is there."""
        method = self._method
        if self.closed or method is None:
            return
        if self.is_cut_short:
            self.fail(Status.INVALID_ARGUMENT, "the call ended in the midst of a message")
        elif method.half_closed is not None:
            method.half_closed(self)
        elif self._waiting is None:
            self.fail(Status.INVALID_ARGUMENT, "the call ended without a message")
        else:
            message, self._waiting = self._waiting, None
            method.message(self, message)

    def on_reset(self, code: int) -> None:
        """Notice that nobody waits for the answer any more."""
        del code
        self.cancelled = True
        self._release()

    def _release(self) -> None:
        self.let_go()
        self._waiting = None
        if self._reserved:
            self.rules.release(self._reserved)
            self._reserved = 0

    # what goes out

    def answer(self, size: int, chunks: Sequence[Buffer]) -> None:
        """Send the one answer, of so many bytes, and end the call."""
        if self.closed:
            return
        self._release()
        self.connection.send_whole(self, _HEAD, (message_prefix(size), *chunks), _DONE)

    def send(self, size: int, chunks: Sequence[Buffer]) -> None:
        """Send one of several answers."""
        if self.closed:
            return
        if not self._answering:
            self._answering = True
            self.connection.send_headers(self, _HEAD)
        self.connection.send_data(self, (message_prefix(size), *chunks))

    def finish(self) -> None:
        """End a call that had several answers."""
        if self.closed:
            return
        self._release()
        if not self._answering:
            self._answering = True
            self.connection.send_headers(self, _HEAD)
        self.connection.send_headers(self, _DONE, ends=True)

    def fail(self, status: Status, told: str) -> None:
        """End the call with an error."""
        if self.closed:
            return
        self._release()
        trailers = [
            (b"grpc-status", b"%d" % status),
            (b"grpc-message", quote(told[:1000], safe=" !#$&'()*+,/:;=?@[]").encode()),
        ]
        block = b"".join(_long_literal(name, value) for name, value in trailers)
        self.connection.send_headers(self, block if self._answering else _HEAD + block, ends=True)


def _long_literal(name: bytes, value: bytes) -> bytes:
    size = len(value)
    if size < 127:
        return literal_header(name, value)
    rest, encoded = size - 127, bytearray(b"\x7f")
    while rest >= 128:
        encoded.append(rest & 127 | 128)
        rest >>= 7
    encoded.append(rest)
    return b"\x00" + bytes([len(name)]) + name + bytes(encoded) + value
