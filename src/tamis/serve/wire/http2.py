"""HTTP/2 without I/O, for gRPC: either side of a connection, bytes in and bytes out.

RFC 9113 without the parts that gRPC does not use: push is rejected, priorities are ignored. A large payload is received
straight into the message that it belongs to: `get_buffer` returns that memory. `benchmarks/grpc_framing.py` compares the cost
per request with grpcio and h2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hpack import Decoder
from hpack.exceptions import HPACKError
from hpack.table import HeaderTable

from tamis.serve.wire import DIRECT_BYTES, Buffer
from tamis.serve.wire.frames import (
    DATA,
    DEFAULT_FRAME_BYTES,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    FRAME,
    FRAME_HEADER_BYTES,
    HEADERS,
    MAX_FRAME_BYTES,
    MAX_WINDOW,
    PADDED,
    PREFACE,
    PRIORITY,
    SETTING,
    U32,
    ErrorCode,
    FrameFlag,
    FrameType,
    Header,
    ProtocolError,
    SettingId,
    frame,
)
from tamis.serve.wire.sending import Http2Sender, Stream

RECEIVE_BUFFER_BYTES = 1 << 18
STREAM_WINDOW, CONNECTION_WINDOW = 1 << 24, MAX_WINDOW
MAX_HEADER_BYTES = 1 << 16  # of one header block, compressed, and of its headers, decompressed
MAX_CACHED_BLOCKS = 256
MAX_RESETS = 1000  # resets in excess of responses; beyond that the peer opens streams only to cancel them


class _CountingHeaderTable(HeaderTable):
    """HPACK's dynamic table, which counts its changes."""

    changes = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.changes += 1
        super().add(name, value)

    @HeaderTable.maxsize.setter  # type: ignore[attr-defined] # a property
    def maxsize(self, newmax: int) -> None:
        self.changes += 1
        HeaderTable.maxsize.fset(self, newmax)  # type: ignore[attr-defined]


class Http2Connection(Http2Sender):
    """One side of a connection: the server's with `accept`, which makes the streams that the peer opens, else the client's."""

    def __init__(
        self,
        write: Callable[[list[Buffer]], object],
        accept: Callable[[Http2Connection, int], Stream] | None = None,
        *,
        max_streams: int = 1000,
        parse_headers: Callable[[list[Header]], Any] = list,
    ) -> None:
        """Queue the preface and the settings; `parse_headers` turns decoded headers into what `on_headers` gets."""
        super().__init__(write, is_client=accept is None)
        self._accept, self._max_streams, self._parse_headers = accept, max_streams, parse_headers
        self._received = 0
        self._decoder = Decoder(MAX_HEADER_BYTES)
        self._table = self._decoder.header_table = _CountingHeaderTable()
        self._blocks: dict[bytes, Any] = {}  # parsed headers by header block
        self._partial: tuple[Stream | None, int, bytearray, bool] | None = None  # headers that go on
        self._buffer = memoryview(bytearray(RECEIVE_BUFFER_BYTES))
        self._buffered = 0
        self._due: tuple[Stream | None, int, bool] | None = None  # stream, bytes to come, whether they end it
        self._padding = 0  # bytes behind those data
        self._direct: memoryview | None = None
        self._greeted = accept is None
        settings = [(SettingId.MAX_CONCURRENT_STREAMS, max_streams)]
        settings += [
            (SettingId.INITIAL_WINDOW_SIZE, STREAM_WINDOW),
            (SettingId.MAX_FRAME_SIZE, MAX_FRAME_BYTES),
        ]
        settings += [(SettingId.MAX_HEADER_LIST_SIZE, MAX_HEADER_BYTES)]
        if accept is None:
            settings += [(SettingId.ENABLE_PUSH, 0)]
            self._out.append(PREFACE)
        self._out.append(frame(FrameType.SETTINGS, 0, 0, b"".join(SETTING.pack(*pair) for pair in settings)))
        self._out.append(frame(FrameType.WINDOW_UPDATE, 0, 0, U32.pack(CONNECTION_WINDOW - DEFAULT_WINDOW)))

    # receiving

    def get_buffer(self) -> memoryview:
        """Return the memory for the next bytes."""
        return self._direct if self._direct is not None else self._buffer[self._buffered :]

    def buffer_updated(self, size: int) -> None:
        """Handle `size` bytes that were received into the memory from `get_buffer`."""
        try:
            if self._direct is None:
                self._buffered += size
                self._parse()
            else:
                stream, remaining, ends = self._due  # type: ignore[misc] # direct memory belongs to data that are due
                assert stream is not None  # noqa: S101 - and to a stream
                stream.direct_filled(size)
                self._expect(stream, remaining - size, ends)
                self._choose_buffer()
        except ProtocolError as error:
            payload = U32.pack(self._last_id) + U32.pack(error.code) + str(error).encode()[:200]
            self._out.append(frame(FrameType.GOAWAY, 0, 0, payload))
            self.lost()
        self.flush()

    def receive(self, data: Buffer) -> None:
        """Handle bytes from elsewhere; copies them."""
        view = memoryview(data)
        while view and not self.closed:
            buffer = self.get_buffer()
            size = min(len(buffer), len(view))
            buffer[:size] = view[:size]
            self.buffer_updated(size)
            view = view[size:]

    def _expect(self, stream: Stream | None, remaining: int, ends: bool) -> None:
        """Wait for the rest of a payload, or end it."""
        self._due = None
        if stream is not None and stream.closed:
            stream = None
        if remaining:
            self._due = (stream, remaining, ends)
            return
        if self._padding:
            self._due, self._padding = (None, self._padding, False), 0
        if ends and stream is not None:
            self._end(stream)

    def _parse(self) -> None:
        buffer, buffered = self._buffer, self._buffered
        position = 0
        if not self._greeted:  # check the client's first bytes
            size = min(buffered, len(PREFACE))
            if buffer[:size] != PREFACE[:size]:
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "this is not HTTP/2 with prior knowledge")
            self._greeted = size == len(PREFACE)
            position = size if self._greeted else 0
        while not self.closed:
            taken = self._take_due(position) if self._due is not None else self._take_frame(position)
            if not taken:
                break
            position += taken
        self._buffered = buffered - position
        if position and self._buffered:
            buffer[: self._buffered] = bytes(buffer[position:buffered])
        self._choose_buffer()

    def _choose_buffer(self) -> None:
        """Receive the rest of a large payload directly, if nothing else is buffered."""
        self._direct = None
        if self._due is not None and not self._buffered and not self.closed:
            stream, remaining, _ = self._due
            if stream is not None and remaining > DIRECT_BYTES:
                self._direct = stream.direct_buffer(remaining)

    def _take_due(self, position: int) -> int:
        """Take more of a payload; return the number of bytes taken."""
        stream, remaining, ends = self._due  # type: ignore[misc] # checked by the caller
        size = min(remaining, self._buffered - position)
        if size:
            if stream is not None and not stream.closed:
                stream.on_data(self._buffer[position : position + size])
            self._expect(stream, remaining - size, ends)
        return size

    def _take_frame(self, position: int) -> int:
        """Take a frame, or the header of one with data; return the number of bytes taken."""
        available = self._buffered - position
        if available < FRAME_HEADER_BYTES or not self._greeted:
            return 0
        high, low, kind, flags, stream_id = FRAME.unpack_from(self._buffer, position)
        size, stream_id, start = high << 8 | low, stream_id & MAX_WINDOW, position + FRAME_HEADER_BYTES
        if kind == DATA and self._partial is None:
            if flags & PADDED and available == FRAME_HEADER_BYTES:
                return 0
            return FRAME_HEADER_BYTES + self._begin_data(stream_id, size, flags, start)
        if size > MAX_HEADER_BYTES:
            raise ProtocolError(
                ErrorCode.FRAME_SIZE_ERROR, f"a frame of {size} bytes; the limit is {MAX_HEADER_BYTES}"
            )
        if available - FRAME_HEADER_BYTES < size:
            return 0
        self._take(kind, flags, stream_id, bytes(self._buffer[start : start + size]))
        return FRAME_HEADER_BYTES + size

    def _begin_data(self, stream_id: int, size: int, flags: int, start: int) -> int:
        """Start a DATA frame; return the number of payload bytes consumed."""
        if not stream_id or (stream_id > self._last_id and self._accept is not None):
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "data on a stream that was never opened")
        stream = self.streams.get(stream_id)
        if stream is not None and stream.ended:
            self.reset(stream, ErrorCode.STREAM_CLOSED)
            stream = None
        self._received += size
        if self._received > CONNECTION_WINDOW // 4:
            self._out.append(frame(FrameType.WINDOW_UPDATE, 0, 0, U32.pack(self._received)))
            self._received = 0
        ends = bool(flags & END_STREAM)
        if stream is not None and not ends:
            stream.received += size
            if stream.received > STREAM_WINDOW // 4:
                self._out.append(frame(FrameType.WINDOW_UPDATE, 0, stream_id, U32.pack(stream.received)))
                stream.received = 0
        if not flags & PADDED:
            if stream is not None and self._buffered - start >= size:  # the usual case: all is buffered
                stream.on_data(self._buffer[start : start + size])
                if ends and not stream.closed:
                    self._end(stream)
                return size
            self._expect(stream, size, ends)
            return 0
        self._padding = self._buffer[start]
        if self._padding >= size:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "more padding than data")
        self._expect(stream, size - 1 - self._padding, ends)
        return 1

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self._partial is not None and kind != FrameType.CONTINUATION:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "another frame inside a header block")
        if kind == HEADERS:
            self._take_headers(flags, stream_id, payload)
            return
        match kind:
            case FrameType.RST_STREAM:
                self._take_reset(stream_id, payload)
            case FrameType.SETTINGS:
                self._take_settings(flags, stream_id, payload)
            case FrameType.PING:
                if len(payload) != 8 or stream_id:
                    raise ProtocolError(
                        ErrorCode.FRAME_SIZE_ERROR, "a PING frame must have 8 bytes and no stream"
                    )
                if not flags & FrameFlag.ACK:
                    self._out.append(frame(FrameType.PING, FrameFlag.ACK, 0, payload))
            case FrameType.GOAWAY:
                self.going_away = True
            case FrameType.WINDOW_UPDATE:
                self._take_window(stream_id, payload)
            case FrameType.CONTINUATION:
                self._take_continuation(flags, stream_id, payload)
            case FrameType.PUSH_PROMISE:
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "server push is not supported")
            case _:  # PRIORITY and unknown types are ignored (RFC 9113, 5.5)
                pass

    def _take_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        start = 0
        stop = len(payload)
        if flags & PADDED:
            stop -= payload[0] if payload else 1
            start = 1
        if flags & PRIORITY:
            start += 5
        if start > stop:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "more padding than headers")
        stream = self._stream_of(stream_id)
        ends = bool(flags & END_STREAM)
        block = payload[start:stop] if start or stop != len(payload) else payload
        if flags & END_HEADERS:
            self._handle_block(stream, block, ends)
        else:
            self._partial = (stream, stream_id, bytearray(block), ends)

    def _take_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._partial is None or stream_id != self._partial[1]:
            raise ProtocolError(
                ErrorCode.PROTOCOL_ERROR, "a CONTINUATION frame without a HEADERS frame before it"
            )
        stream, _, block, ends = self._partial
        block += payload
        if len(block) > MAX_HEADER_BYTES:
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, "too many headers")
        if flags & END_HEADERS:
            self._partial = None
            self._handle_block(stream, bytes(block), ends)

    def _stream_of(self, stream_id: int) -> Stream | None:
        """Return the stream of a header block, opening it if it is new; None if it is closed or refused."""
        stream = self.streams.get(stream_id)
        if stream is not None or self._accept is None or stream_id <= self._last_id:
            if not stream_id:
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "headers on stream 0")
            return stream
        if not stream_id & 1:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "a stream with an even number from a client")
        self._last_id = stream_id
        if len(self.streams) >= self._max_streams or self.going_away:
            self._out.append(frame(FrameType.RST_STREAM, 0, stream_id, U32.pack(ErrorCode.REFUSED_STREAM)))
            return None
        stream = self.streams[stream_id] = self._accept(self, stream_id)
        return stream

    def _handle_block(self, stream: Stream | None, block: bytes, ends: bool) -> None:
        """Handle a header block; a block that repeats, and did not change the table, is decoded only once."""
        headers = self._blocks.get(block)
        if headers is None:
            before = self._table.changes
            try:
                headers = self._parse_headers(list(self._decoder.decode(block, raw=True)))
            except (HPACKError, IndexError, ValueError) as error:
                raise ProtocolError(
                    ErrorCode.COMPRESSION_ERROR, f"a header block that cannot be decoded: {error}"
                ) from error
            if self._table.changes != before:
                self._blocks.clear()
            elif len(self._blocks) < MAX_CACHED_BLOCKS:
                self._blocks[block] = headers
        if stream is None:
            return
        if stream.ended:
            self.reset(stream, ErrorCode.STREAM_CLOSED)
            return
        stream.on_headers(headers)
        if ends and not stream.closed:
            self._end(stream)

    def _end(self, stream: Stream) -> None:
        stream.ended = True
        stream.on_end()

    def _take_reset(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4 or not stream_id:
            raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "an RST_STREAM frame must have 4 bytes")
        stream = self.streams.pop(stream_id, None)
        if stream is None:
            return
        self._resets += 1
        if self._resets > MAX_RESETS and self._accept is not None:
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, "streams are opened only to be cancelled")
        stream.closed = True
        stream.on_reset(U32.unpack(payload)[0])

    def _take_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id or len(payload) % 6 or (flags & FrameFlag.ACK and payload):
            raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "settings of a wrong size")
        if flags & FrameFlag.ACK:
            return
        for key, value in SETTING.iter_unpack(payload):
            if key == SettingId.INITIAL_WINDOW_SIZE:
                if value > MAX_WINDOW:
                    raise ProtocolError(ErrorCode.FLOW_CONTROL_ERROR, "the initial window is too large")
                growth, self.peer_window = value - self.peer_window, value
                for stream in list(self.streams.values()):
                    stream.window += growth
                    self._send_pending(stream)
            elif key == SettingId.MAX_FRAME_SIZE:
                if not DEFAULT_FRAME_BYTES <= value <= MAX_FRAME_BYTES:
                    raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "the frame size is out of range")
                self.peer_max_frame = value
            elif key == SettingId.HEADER_TABLE_SIZE:
                self._encoder.header_table_size = min(value, 4096)
        self._out.append(frame(FrameType.SETTINGS, FrameFlag.ACK, 0))

    def _take_window(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "a WINDOW_UPDATE frame must have 4 bytes")
        growth = U32.unpack(payload)[0] & MAX_WINDOW
        if not stream_id:
            self._window += growth
            if not growth or self._window > MAX_WINDOW:
                raise ProtocolError(
                    ErrorCode.FLOW_CONTROL_ERROR, "a window update of 0, or beyond the largest window"
                )
            for waiting in [stream for stream in self.streams.values() if stream.pending]:
                self._send_pending(waiting)
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            return
        stream.window += growth
        if not growth or stream.window > MAX_WINDOW:
            self.reset(stream, ErrorCode.FLOW_CONTROL_ERROR)
        else:
            self._send_pending(stream)

    def lost(self) -> None:
        """Reset all streams: the connection is gone."""
        self.closed = True
        self._due = self._direct = None
        for stream in list(self.streams.values()):
            stream.closed = True
            stream.on_reset(ErrorCode.CANCEL)
        self.streams.clear()
