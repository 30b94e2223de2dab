"""A gRPC connection without a thread of its own: the caller that waits for an answer reads the socket.

A channel is used by one thread at a time, with any number of calls in flight. While the send buffer is full, answers are read,
so that client and server cannot deadlock.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic_ns
from urllib.parse import unquote

from tamis._base import UsageError
from tamis.serve.tls import Credentials
from tamis.serve.wire import Buffer
from tamis.serve.wire.frames import MAX_JOINED_BYTES, ErrorCode, Header
from tamis.serve.wire.grpc import Status, literal_header
from tamis.serve.wire.http2 import Http2Connection
from tamis.serve.wire.messages import MessageStream, message_prefix
from tamis.serve.wire.sending import Http2Sender

GRPC_SCHEME, GRPCS_SCHEME = "grpc://", "grpcs://"
MAX_SEND_PIECES = 64  # of one system call
MAX_ANSWER_BYTES = 1 << 31


class CallError(Exception):
    """A call failed: the server's error, or that of the connection."""

    def __init__(self, status: Status, message: str, *, from_server: bool = False) -> None:
        """Create the error; `from_server` says that it is the server's answer."""
        super().__init__(message)
        self.status, self.from_server = status, from_server


class ClientCall(MessageStream):
    """A call in flight: `messages` are the answers so far; no more follow once it is `done`."""

    __slots__ = ("done", "failure", "is_reset", "messages", "trailers")

    def __init__(self, connection: Http2Sender, stream_id: int) -> None:
        """Start without answers."""
        super().__init__(connection, stream_id)
        self.messages: deque[Buffer] = deque()
        self.trailers: dict[bytes, bytes] = {}
        self.done = self.is_reset = False
        self.failure: CallError | None = None

    def on_headers(self, headers: Sequence[Header]) -> None:
        """Store headers and trailers; of repeated ones the last counts."""
        self.trailers.update((bytes(name), bytes(value)) for name, value in headers)

    def accept_message(self, size: int) -> bool:
        """Accept an answer unless it is far larger than any array."""
        return size < MAX_ANSWER_BYTES

    def on_message(self, message: Buffer, packed: bool) -> None:
        """Store an answer."""
        if packed:
            self._fail(
                Status.INTERNAL,
                "the server compressed its answer, although the client accepts no compression",
            )
        else:
            self.messages.append(message)

    def on_end(self) -> None:
        """Read the status from the trailers."""
        self.connection.discard(self)
        if self.done:
            return
        status = self.trailers.get(b"grpc-status", b"").decode("latin-1")
        message = unquote(self.trailers.get(b"grpc-message", b"").decode("latin-1"))
        if status != "0":
            known = status.isdigit() and int(status) in {*Status}
            http = self.trailers.get(b":status", b"?").decode("latin-1")
            self._fail(
                Status(int(status)) if known else Status.UNKNOWN,
                message or f"the server ended the call with the status {status or http!r}",
                from_server=known,
            )
        elif self.is_truncated:
            self._fail(Status.INTERNAL, "the answer is truncated")
        self.done = True

    def on_reset(self, code: int) -> None:
        """Fail the call, as the server reset its stream."""
        if not self.done:
            self.is_reset = True
            message = f"the server reset the call (HTTP/2 code {code})"
            if code == ErrorCode.REFUSED_STREAM:
                message = (
                    "the server accepts no more concurrent calls on this connection: use more connections"
                )
            self._fail(Status.UNAVAILABLE, message)

    def _fail(self, status: Status, message: str, *, from_server: bool = False) -> None:
        self.failure, self.done = CallError(status, message, from_server=from_server), True


class Channel:
    """One connection to one server: `HOST:PORT`, or `unix:PATH`."""

    def __init__(
        self,
        address: str,
        *,
        connect_s: float = 2.0,
        tls: ssl.SSLContext | None = None,
        token: str | None = None,
    ) -> None:
        """Connect; raise OSError if that fails."""
        self.address, self._token = address, token
        self._socket = _connected(address, connect_s, tls)
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._events = select.POLLIN
        self._poll.register(self._socket, self._events)
        self._outbox: deque[memoryview] = deque()
        self._blocks: dict[
            str, tuple[bytes, int]
        ] = {}  # header block by path, and the table version it is for
        self._table_version = 0  # of the HPACK table: counts the header blocks that may have changed it
        self._secure = tls is not None
        self._lost_reason = ""
        self._connection = Http2Connection(self._take)
        self._send(None)

    @property
    def closed(self) -> bool:
        """Return whether the connection is closed."""
        return self._connection.closed

    def fileno(self) -> int:
        """Return the file descriptor of the socket, for polling."""
        return self._socket.fileno()

    def read(self) -> None:
        """Read the received data, and send the pending data."""
        while not self._connection.closed and self._receive():
            pass
        if self._outbox:
            self._send(monotonic_ns())

    def is_stale(self) -> bool:
        """Return whether the server has closed the connection, or is about to."""
        if not self._connection.closed:
            self._receive()
        return self._connection.closed or self._connection.going_away

    @property
    def under_way(self) -> int:
        """Return the number of calls in flight."""
        return len(self._connection.streams)

    def begin(
        self,
        path: str,
        size: int,
        pieces: Sequence[Buffer],
        *,
        timeout_ns: int | None = None,
        make: Callable[[Http2Sender, int], ClientCall] = ClientCall,
    ) -> ClientCall:
        """Send a call and return it, without waiting for its answer."""
        connection = self._connection
        if connection.closed or connection.going_away:
            raise CallError(Status.UNAVAILABLE, f"the connection to {self.address} is closed")
        block = self._block(path)
        if timeout_ns is not None:
            block += literal_header(
                b"grpc-timeout", b"%dm" % max(1, min(99_999_999, timeout_ns // 1_000_000))
            )
        exchange = connection.open_stream(make, block)
        connection.send_data(exchange, (message_prefix(size), *pieces), ends=True)
        connection.flush()
        self._send(None if timeout_ns is None else monotonic_ns() + timeout_ns)
        return exchange

    def _block(self, path: str) -> bytes:
        """Return the header block of a call: a few bytes once all its headers are in the HPACK table."""
        cached = self._blocks.get(path)
        if cached is not None and cached[1] == self._table_version:
            return cached[0]
        headers = [
            (":method", "POST"),
            (":scheme", "https" if self._secure else "http"),
            (":path", path),
            (":authority", self.address if not self.address.startswith("unix:") else "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("user-agent", "tamis"),
        ]
        if self._token:
            headers.append(("authorization", f"Bearer {self._token}"))
        block = self._connection.encode_headers(headers)
        if len(block) == len(headers):  # a byte each: all were in the table
            self._blocks[path] = (block, self._table_version)
        else:
            self._table_version += 1
        return block

    def answer(self, exchange: ClientCall, until_ns: int | None = None) -> Buffer:
        """Wait for the single answer of a call and return it; raise CallError if it fails."""
        while not exchange.done:
            if exchange.messages and self._connection.closed:
                break
            if not self._read(until_ns):
                self.cancel(exchange)
                raise CallError(Status.DEADLINE_EXCEEDED, f"{self.address} did not answer in time")
        if exchange.failure is not None:
            if self._lost_reason and exchange.is_reset:
                raise CallError(Status.UNAVAILABLE, f"the connection was lost: {self._lost_reason}")
            raise exchange.failure
        if not exchange.messages:
            raise CallError(Status.INTERNAL, f"{self.address} ended the call without an answer")
        return exchange.messages.popleft()

    def cancel(self, exchange: ClientCall) -> None:
        """Cancel a call on the server."""
        if not self._connection.closed:
            self._connection.reset(exchange, ErrorCode.CANCEL)
            self._connection.flush()
            self._send(monotonic_ns())

    def _take(self, chunks: list[Buffer]) -> None:
        if sum(map(len, chunks)) <= MAX_JOINED_BYTES:  # one small piece is cheaper to send than several
            chunks = [b"".join(chunks)]
        self._outbox.extend([memoryview(chunk) for chunk in chunks if len(chunk)])

    def _send(self, until_ns: int | None) -> None:
        """Send the pending data; while the send buffer is full, read."""
        outbox = self._outbox
        while outbox and not self._connection.closed:
            try:
                if self._secure or len(outbox) == 1:
                    sent = self._socket.send(outbox[0])
                else:
                    pieces = min(MAX_SEND_PIECES, len(outbox))
                    sent = self._socket.sendmsg([outbox[i] for i in range(pieces)])
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                if not self._wait(select.POLLIN | select.POLLOUT, until_ns):
                    return
                self._receive()
                continue
            except OSError as error:
                self._lost(error)
                return
            while sent:
                if sent >= len(outbox[0]):
                    sent -= len(outbox.popleft())
                else:
                    outbox[0] = outbox[0][sent:]
                    sent = 0

    def _wait(self, events: int, until_ns: int | None) -> bool:
        """Wait for the socket; return whether it became ready in time."""
        if self._secure and isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        remaining_ms = None if until_ns is None else (until_ns - monotonic_ns()) / 1e6
        if remaining_ms is not None and remaining_ms <= 0:
            return False
        if events != self._events:
            self._poll.modify(self._socket, events)
            self._events = events
        return bool(self._poll.poll(remaining_ms))

    def _read(self, until_ns: int | None) -> bool:
        """Read once; return whether data arrived in time."""
        if self._connection.closed:
            return True
        if self._outbox:
            self._send(until_ns)
        if not self._wait(select.POLLIN, until_ns):
            return self._receive()  # data that arrived in time counts
        self._receive()
        return True

    def _receive(self) -> bool:
        try:
            size = self._socket.recv_into(self._connection.get_buffer())
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as error:
            self._lost(error)
            return True
        if not size:
            self._lost(ConnectionResetError("the server has closed the connection"))
            return True
        self._connection.buffer_updated(size)
        return True

    def _lost(self, error: OSError) -> None:
        # `reason` is that of a TLS error
        self._lost_reason = getattr(error, "reason", None) or error.strerror or str(error)
        self._connection.lost()
        self._outbox.clear()

    def close(self) -> None:
        """Close the connection; calls in flight fail."""
        self._connection.lost()
        self._socket.close()


def plain_address(address: str) -> str:
    """Return the address of a server without its scheme; raises UsageError if it is none."""
    plain = address.removeprefix(GRPCS_SCHEME).removeprefix(GRPC_SCHEME)
    host, _, port = plain.rpartition(":")
    if not plain.startswith(("unix:", "local:")) and not (host and port.isdecimal() and "/" not in host):
        raise UsageError(
            f"{address!r} is not the address of a server: write grpc://HOST:PORT, or grpcs:// for TLS"
        )
    return plain


def reach(address: str, credentials: Credentials) -> tuple[str, ssl.SSLContext | None]:
    """Return the address without its scheme, and the TLS context if that is grpcs://."""
    return plain_address(address), credentials.context() if address.startswith(GRPCS_SCHEME) else None


def _connected(address: str, connect_s: float, tls: ssl.SSLContext | None) -> socket.socket:
    if address.startswith("unix:"):
        plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        plain.settimeout(connect_s)
        try:
            plain.connect(address.removeprefix("unix:"))
        except OSError:
            plain.close()
            raise
        return plain
    host, _, port = address.rpartition(":")
    plain = socket.create_connection((host.strip("[]"), int(port)), connect_s)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is None:
        return plain
    try:
        return tls.wrap_socket(plain, server_hostname=host.strip("[]"))
    except OSError:
        plain.close()
        raise
