"""What goes out on a connection of HTTP/2: headers at once, data as far as the peer's windows go."""

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
    """One exchange. Subclasses say what becomes of headers and data; views of data are valid during the call alone."""

    __slots__ = ("closed", "connection", "ended", "held", "id", "received", "window")

    def __init__(self, connection: Http2Sender, stream_id: int) -> None:
        """Begin an exchange."""
        self.connection, self.id = connection, stream_id
        self.window = connection.peer_window  # what may still be sent
        self.held: deque[tuple[Buffer, bool]] | None = (
            None  # what waits for the window, and whether it ends the stream
        )
        self.received = 0  # bytes since the window was last opened
        self.ended = False  # by the peer
        self.closed = False  # by both, or by a reset

    def on_headers(self, headers: Any) -> None:
        """Take headers or trailers, as the connection understands them."""

    def on_data(self, data: memoryview) -> None:
        """Take a piece of data."""

    def on_end(self) -> None:
        """Notice that the peer has sent all."""

    def on_reset(self, code: int) -> None:
        """Notice that the peer, or the end of the connection, has cut the exchange off."""

    def room(self, size: int) -> memoryview | None:
        """Return where at most so many coming bytes of data belong, where that is known."""
        del size
        return None

    def filled(self, size: int) -> None:
        """Notice that so many bytes have come to where `room` said."""


class Http2Sender:
    """The end of a connection that sends; `asks` tells whether it is the one that begins streams."""

    def __init__(self, write: Callable[[list[Buffer]], object], *, asks: bool) -> None:
        """Begin."""
        self._write, self._asks = write, asks
        self.streams: dict[int, Stream] = {}
        self.peer_window, self.peer_frame = DEFAULT_WINDOW, DEFAULT_FRAME_BYTES
        self.closed = False
        self.leaving = False  # the peer begins nothing any more
        self._window = DEFAULT_WINDOW
        self._encoder = Encoder()
        self._next, self._last = 1, 0
        self._resets = 0
        self._out: list[Buffer] = []

    def encoded(self, headers: Iterable[tuple[str, str]]) -> bytes:
        """Return a block of headers; they have to be sent in the order in which they were encoded."""
        return self._encoder.encode(headers)

    def open(self, make: Callable[[Http2Sender, int], S], block: bytes) -> S:
        """Begin a stream, as the end that asks."""
        stream_id, self._next = self._next, self._next + 2
        stream = make(self, stream_id)
        self.streams[stream_id] = stream
        self.send_headers(stream, block)
        return stream

    def send_headers(self, stream: Stream, block: bytes, *, ends: bool = False) -> None:
        """Send headers, or trailers behind all data."""
        if stream.closed:
            return
        if stream.held:
            stream.held.append(
                (frame(HEADERS, LAST_HEADERS if ends else END_HEADERS, stream.id, block), ends)
            )
            return
        self._out.append(frame(HEADERS, LAST_HEADERS if ends else END_HEADERS, stream.id, block))
        if ends:
            self._finish(stream)

    def send_whole(self, stream: Stream, head: bytes, chunks: Sequence[Buffer], trailers: bytes) -> None:
        """Send headers, data and trailers: all that there is to say on a stream."""
        if stream.closed:
            return
        size = sum(map(len, chunks))
        if (
            size > MAX_JOINED_BYTES
            or stream.held
            or size > stream.window
            or size > self._window
            or size > self.peer_frame
        ):
            self.send_headers(stream, head)
            self.send_data(stream, chunks)
            self.send_headers(stream, trailers, ends=True)
            return
        self._window -= size
        number = stream.id
        self._out.append(
            b"".join(
                (
                    FRAME.pack(len(head) >> 8, len(head) & 0xFF, HEADERS, END_HEADERS, number),
                    head,
                    FRAME.pack(size >> 8, size & 0xFF, DATA, 0, number),
                    *chunks,
                    FRAME.pack(len(trailers) >> 8, len(trailers) & 0xFF, HEADERS, LAST_HEADERS, number),
                    trailers,
                )
            )
        )
        self._finish(stream)

    def send_data(self, stream: Stream, chunks: Sequence[Buffer], *, ends: bool = False) -> None:
        """Send data as far as the peer's windows go; the rest follows when they open."""
        if stream.closed:
            return
        size = sum(map(len, chunks))
        if not stream.held and size <= self.peer_frame and size <= stream.window and size <= self._window:
            stream.window -= size
            self._window -= size
            self._out.append(FRAME.pack(size >> 8, size & 0xFF, DATA, END_STREAM if ends else 0, stream.id))
            self._out += chunks
            if ends:
                self._finish(stream)
            return
        stream.held = stream.held or deque()
        stream.held.extend((memoryview(chunk), False) for chunk in chunks)
        if ends:
            stream.held.append((memoryview(b""), True))
        self._send_held(stream)

    def _send_held(self, stream: Stream) -> None:
        held = stream.held
        while held and not stream.closed:
            chunk, ends = held[0]
            if not isinstance(chunk, memoryview):  # headers, which no window bounds
                held.popleft()
                self._out.append(chunk)
            else:
                size = min(len(chunk), self.peer_frame, stream.window, self._window)
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
                    held[0] = (chunk[size:], ends)
                    continue
                held.popleft()
            if ends:
                self._finish(stream)

    def _finish(self, stream: Stream) -> None:
        """Note that this end has sent all."""
        if stream.ended or not self._asks:
            if not stream.ended:  # the answer is complete before the question: nothing more of it is wanted
                self._out.append(frame(FrameType.RST_STREAM, 0, stream.id, U32.pack(ErrorCode.NO_ERROR)))
            stream.closed = True
            self.streams.pop(stream.id, None)
            self._resets = max(0, self._resets - 1)

    def reset(self, stream: Stream, code: ErrorCode) -> None:
        """Cut an exchange off."""
        if not stream.closed:
            stream.closed = True
            self.streams.pop(stream.id, None)
            self._out.append(frame(FrameType.RST_STREAM, 0, stream.id, U32.pack(code)))
            stream.on_reset(code)

    def forget(self, stream: Stream) -> None:
        """Let go of a stream that is over at both ends."""
        stream.closed = True
        self.streams.pop(stream.id, None)

    def leave(self) -> None:
        """Tell the peer that nothing new is taken; what runs is finished."""
        self.leaving = True
        self._out.append(frame(FrameType.GOAWAY, 0, 0, U32.pack(self._last) + U32.pack(ErrorCode.NO_ERROR)))
        self.flush()

    def flush(self) -> None:
        """Hand on what is to be sent."""
        if self._out:
            out, self._out = self._out, []
            self._write(out)
