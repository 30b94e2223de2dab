"""A connection to a server, without a thread of its own: whoever waits for an answer reads it.

One thread at a time uses a channel; any number of calls may be under way. While the socket takes no more, answers are read,
so that neither end waits for the other for ever.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic_ns
from urllib.parse import unquote

from tamis.serve.tls import Credentials
from tamis.serve.wire import Buffer
from tamis.serve.wire.frames import MAX_JOINED_BYTES, ErrorCode, Header
from tamis.serve.wire.grpc import Status, literal_header
from tamis.serve.wire.http2 import Http2Connection
from tamis.serve.wire.messages import MessageStream, message_prefix
from tamis.serve.wire.sending import Http2Sender

SCHEME, SECURE = "grpc://", "grpcs://"
PIECES_MOST = 64  # that one call of the system takes
ANSWER_BYTES_MOST = 1 << 31


class CallError(Exception):
    """A call that ended without an answer: what the server said, or what became of the connection."""

    def __init__(self, status: Status, told: str) -> None:
        """Keep both."""
        super().__init__(told)
        self.status = status


class ClientCall(MessageStream):
    """A call under way: `messages` are its answers so far; `done` when no more will come."""

    __slots__ = ("done", "failure", "is_reset", "messages", "trailers")

    def __init__(self, connection: Http2Sender, stream_id: int) -> None:
        """Begin a call."""
        super().__init__(connection, stream_id)
        self.messages: deque[Buffer] = deque()
        self.trailers: dict[bytes, bytes] = {}
        self.done = self.is_reset = False
        self.failure: CallError | None = None

    def on_headers(self, headers: Sequence[Header]) -> None:
        """Note what the server says of the call; the last word is the one that counts."""
        self.trailers.update((bytes(name), bytes(value)) for name, value in headers)

    def accept_message(self, size: int) -> bool:
        """Take answers of any size that arrays have."""
        return size < ANSWER_BYTES_MOST

    def on_message(self, message: Buffer, packed: bool) -> None:
        """Keep an answer."""
        if packed:
            self._fail(Status.INTERNAL, "the server has compressed its answer, which was not asked for")
        else:
            self.messages.append(message)

    def on_end(self) -> None:
        """Read the status."""
        self.connection.discard(self)
        if self.done:
            return
        status = self.trailers.get(b"grpc-status", b"").decode("latin-1")
        told = unquote(self.trailers.get(b"grpc-message", b"").decode("latin-1"))
        if status != "0":
            known = status.isdigit() and int(status) in {*Status}
            http = self.trailers.get(b":status", b"?").decode("latin-1")
            self._fail(
                Status(int(status)) if known else Status.UNKNOWN,
                told or f"the server ended the call with the status {status or http!r}",
            )
        elif self.is_truncated:
            self._fail(Status.INTERNAL, "the answer is cut short")
        self.done = True

    def on_reset(self, code: int) -> None:
        """Notice that there will be no answer."""
        if not self.done:
            self.is_reset = True
            told = f"the server has cut the call off (HTTP/2 code {code})"
            if code == ErrorCode.REFUSED_STREAM:
                told = "the server takes no more calls at a time over one connection: use more connections"
            self._fail(Status.UNAVAILABLE, told)

    def _fail(self, status: Status, told: str) -> None:
        self.failure, self.done = CallError(status, told), True


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
        """Connect, or raise OSError."""
        self.address, self._token = address, token
        self._socket = _connected(address, connect_s, tls)
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._events = select.POLLIN
        self._poll.register(self._socket, self._events)
        self._outbox: deque[memoryview] = deque()
        self._headers: dict[str, tuple[bytes, int]] = {}
        self._sent = 0  # header blocks that may have changed the table
        self._secure = tls is not None
        self._gone = ""  # why there is no connection any more
        self._connection = Http2Connection(self._take)
        self._send(None)

    @property
    def closed(self) -> bool:
        """Tell whether nothing can be asked any more."""
        return self._connection.closed

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._socket.fileno()

    def read(self) -> None:
        """Take what has come, and send what could not be sent before."""
        while not self._connection.closed and self._receive():
            pass
        if self._outbox:
            self._send(monotonic_ns())

    def is_stale(self) -> bool:
        """Tell whether the server has closed the connection, or is about to, while nobody looked."""
        if not self._connection.closed:
            self._receive()
        return self._connection.closed or self._connection.going_away

    @property
    def under_way(self) -> int:
        """Return how many calls wait for an answer."""
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
        """Send a call; its answer is waited for later."""
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
        """Return the headers of a call; the second time they are in the table, and a few bytes say all."""
        known = self._headers.get(path)
        if known is not None and known[1] == self._sent:
            return known[0]
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
        if len(block) == len(headers):  # a byte each: nothing was added to the table
            self._headers[path] = (block, self._sent)
        else:
            self._sent += 1
        return block

    def answer(self, exchange: ClientCall, until_ns: int | None = None) -> Buffer:
        """Return the one answer of a call, or raise CallError."""
        while not exchange.done:
            if exchange.messages and self._connection.closed:
                break
            if not self._read(until_ns):
                self.cancel(exchange)
                raise CallError(Status.DEADLINE_EXCEEDED, f"{self.address} did not answer in time")
        if exchange.failure is not None:
            if self._gone and exchange.is_reset:
                raise CallError(Status.UNAVAILABLE, f"the connection is gone: {self._gone}")
            raise exchange.failure
        if not exchange.messages:
            raise CallError(Status.INTERNAL, f"{self.address} ended the call without an answer")
        return exchange.messages.popleft()

    def cancel(self, exchange: ClientCall) -> None:
        """Tell the server that nobody waits for an answer any more."""
        if not self._connection.closed:
            self._connection.reset(exchange, ErrorCode.CANCEL)
            self._connection.flush()
            self._send(monotonic_ns())

    def _take(self, chunks: list[Buffer]) -> None:
        if sum(map(len, chunks)) <= MAX_JOINED_BYTES:  # one piece costs the system less than several
            chunks = [b"".join(chunks)]
        self._outbox.extend([memoryview(chunk) for chunk in chunks if len(chunk)])

    def _send(self, until_ns: int | None) -> None:
        """Send what is to be sent; read meanwhile where the socket takes no more."""
        outbox = self._outbox
        while outbox and not self._connection.closed:
            try:
                sent = self._write()
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                if not self._ready(select.POLLIN | select.POLLOUT, until_ns):
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

    def _write(self) -> int:
        if self._secure or len(self._outbox) == 1:
            return self._socket.send(self._outbox[0])
        return self._socket.sendmsg([self._outbox[i] for i in range(min(PIECES_MOST, len(self._outbox)))])

    def _ready(self, events: int, until_ns: int | None) -> bool:
        """Wait for the socket; tell whether it was in time."""
        if self._secure and isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        left = None if until_ns is None else (until_ns - monotonic_ns()) / 1e6
        if left is not None and left <= 0:
            return False
        if events != self._events:
            self._poll.modify(self._socket, events)
            self._events = events
        return bool(self._poll.poll(left))

    def _read(self, until_ns: int | None) -> bool:
        """Read once; tell whether anything came in time."""
        if self._connection.closed:
            return True
        if self._outbox:
            self._send(until_ns)
        if not self._ready(select.POLLIN, until_ns):
            return self._receive()  # what has come before the time was up counts
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
        self._gone = (
            getattr(error, "reason", None) or error.strerror or str(error)
        )  # of TLS: what it objects to
        self._connection.lost()
        self._outbox.clear()

    def close(self) -> None:
        """Close the connection; what is under way fails."""
        self._connection.lost()
        self._socket.close()


def reach(address: str, credentials: Credentials) -> tuple[str, ssl.SSLContext | None]:
    """Return HOST:PORT of an address with its scheme, and what TLS takes where that is grpcs://."""
    if address.startswith(SECURE):
        return address.removeprefix(SECURE), credentials.context()
    return address.removeprefix(SCHEME), None


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
