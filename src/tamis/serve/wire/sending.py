"""The sending half of an HTTP/2 connection, and its streams: headers at once, data as far as the peer's windows allow."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from hpack import Encoder

from tamis.serve.wire import Buffer
from tamis.serve.wire.frames import (
    DATA,
    DEFAULT_FRAME_BYTES,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    FRAME,
    HEADERS,
    LAST_HEADERS,
    MAX_JOINED_BYTES,
    U32,
    ErrorCode,
    FrameType,
    frame,
)

S = TypeVar("S", bound="Stream")


class Stream:
    """One stream. Subclasses handle its headers and data; a view of received data is valid only during the call."""

    __slots__ = ("closed", "connection", "ended", "id", "pending", "received", "window")

    def __init__(self, connection: Http2Sender, stream_id: int) -> None:
        """Open a stream with the peer's initial window."""
        self.connection, self.id = connection, stream_id
        self.window = connection.peer_window  # bytes that may still be sent
        # data (views) and trailers (bytes) that wait for the window, each with whether it ends the stream
        self.pending: deque[tuple[Buffer, bool]] | None = None
        self.received = 0  # bytes since the last window update
        self.ended = False  # by the peer
        self.closed = False  # on both sides, or by a reset

    def on_headers(self, headers: Any) -> None:
        """Handle headers or trailers, as parsed by the connection's `parse_headers`."""

    def on_data(self, data: memoryview) -> None:
        """Handle a piece of data."""

    def on_end(self) -> None:
        """Handle the end of the peer's data."""

    def on_reset(self, code: int) -> None:
        """Handle a reset by the peer, or the end of the connection."""

    def direct_buffer(self, size: int) -> memoryview | None:
        """Return memory for at most `size` bytes of data still to come, or None to have them passed to `on_data`."""
        del size
        return None

    def direct_filled(self, size: int) -> None:
        """Handle `size` bytes that were received into the direct buffer."""


class Http2Sender:
    """The sending half of a connection; `is_client` says whether this side opens the streams."""

    def __init__(self, write: Callable[[list[Buffer]], object], *, is_client: bool) -> None:
        """Start with the protocol's default windows; `write` takes the bytes for the socket."""
        self._write, self._is_client = write, is_client
        self.streams: dict[int, Stream] = {}
        self.peer_window, self.peer_max_frame = DEFAULT_WINDOW, DEFAULT_FRAME_BYTES
        self.closed = False
        self.going_away = False  # no new streams
        self._window = DEFAULT_WINDOW
        self._encoder = Encoder()
        self._next_id, self._last_id = 1, 0
        self._resets = 0
        self._out: list[Buffer] = []

    def encode_headers(self, headers: Iterable[tuple[str, str]]) -> bytes:
        """Return a header block; blocks have to be sent in the order in which they were encoded."""
        return self._encoder.encode(headers)

    def open_stream(self, make: Callable[[Http2Sender, int], S], block: bytes) -> S:
        """Open a stream (client only) and send its headers."""
        stream_id, self._next_id = self._next_id, self._next_id + 2
        stream = make(self, stream_id)
        self.streams[stream_id] = stream
        self.send_headers(stream, block)
        return stream

    def send_headers(self, stream: Stream, block: bytes, *, ends: bool = False) -> None:
        """Send headers, or trailers once all pending data are sent."""
        if stream.closed:
            return
        headers = frame(HEADERS, LAST_HEADERS if ends else END_HEADERS, stream.id, block)
        if stream.pending:
            stream.pending.append((headers, ends))
            return
        self._out.append(headers)
        if ends:
            self._finish(stream)

    def send_whole(self, stream: Stream, headers: bytes, chunks: Sequence[Buffer], trailers: bytes) -> None:
        """Send headers, data and trailers, which end the stream; small data in one piece."""
        if stream.closed:
            return
        size = sum(map(len, chunks))
        if (
            size > MAX_JOINED_BYTES
            or stream.pending
            or size > stream.window
            or size > self._window
            or size > self.peer_max_frame
        ):
            self.send_headers(stream, headers)
            self.send_data(stream, chunks)
            self.send_headers(stream, trailers, ends=True)
            return
        self._window -= size
        number = stream.id
        self._out.append(
            b"".join(
                (
                    FRAME.pack(len(headers) >> 8, len(headers) & 0xFF, HEADERS, END_HEADERS, number),
                    headers,
                    FRAME.pack(size >> 8, size & 0xFF, DATA, 0, number),
                    *chunks,
                    FRAME.pack(len(trailers) >> 8, len(trailers) & 0xFF, HEADERS, LAST_HEADERS, number),
                    trailers,
                )
            )
        )
        self._finish(stream)

    def send_data(self, stream: Stream, chunks: Sequence[Buffer], *, ends: bool = False) -> None:
        """Send data as far as the peer's windows allow; the rest follows when they open."""
        if stream.closed:
            return
        size = sum(map(len, chunks))
        if (
            not stream.pending
            and size <= self.peer_max_frame
            and size <= stream.window
            and size <= self._window
        ):
            stream.window -= size
            self._window -= size
            self._out.append(FRAME.pack(size >> 8, size & 0xFF, DATA, END_STREAM if ends else 0, stream.id))
            self._out += chunks
            if ends:
                self._finish(stream)
            return
        stream.pending = stream.pending or deque()
        stream.pending.extend((memoryview(chunk), False) for chunk in chunks)
        if ends:
            stream.pending.append((memoryview(b""), True))
        self._send_pending(stream)

    def _send_pending(self, stream: Stream) -> None:
        pending = stream.pending
        while pending and not stream.closed:
            chunk, ends = pending[0]
            if not isinstance(chunk, memoryview):  # headers are not subject to flow control
                pending.popleft()
                self._out.append(chunk)
            else:
                size = min(len(chunk), self.peer_max_frame, stream.window, self._window)
                if size <= 0 and len(chunk):
                    return
                stream.window -= size
                self._window -= size
                last = ends and size == len(chunk)
                self._out.append(
                    FRAME.pack(size >> 8, size & 0xFF, DATA, END_STREAM if last else 0, stream.id)
                )
                self._out.append(chunk[:size])
                if size < len(chunk):
                    pending[0] = (chunk[size:], ends)
                    continue
                pending.popleft()
            if ends:
                self._finish(stream)

    def _finish(self, stream: Stream) -> None:
        """Close a stream on which this side has sent everything, if the other side has as well, or need not."""
        if stream.ended or not self._is_client:
            if not stream.ended:  # a complete response before the end of the request: stop the request
                self._out.append(frame(FrameType.RST_STREAM, 0, stream.id, U32.pack(ErrorCode.NO_ERROR)))
            stream.closed = True
            self.streams.pop(stream.id, None)
            self._resets = max(0, self._resets - 1)

    def reset(self, stream: Stream, code: ErrorCode) -> None:
        """Reset a stream."""
        if not stream.closed:
            self.discard(stream)
            self._out.append(frame(FrameType.RST_STREAM, 0, stream.id, U32.pack(code)))
            stream.on_reset(code)

    def discard(self, stream: Stream) -> None:
        """Drop a stream that both sides have ended."""
        stream.closed = True
        self.streams.pop(stream.id, None)

    def go_away(self) -> None:
        """Tell the peer that no new streams are accepted; open streams are finished."""
        self.going_away = True
        self._out.append(
            frame(FrameType.GOAWAY, 0, 0, U32.pack(self._last_id) + U32.pack(ErrorCode.NO_ERROR))
        )
        self.flush()

    def flush(self) -> None:
        """Pass everything that is queued to `write`."""
        if self._out:
            out, self._out = self._out, []
            self._write(out)
