"""HTTP/2 without I/O, for gRPC: bytes in, bytes out, either end of a connection.

RFC 9113, less what gRPC has no use for: push is refused, priorities are read and not heeded. Large payloads are received
where they are to be: `get_buffer` hands out the place in the message that is being filled. Written by hand because what
there is costs several times as much per request as the protocol's budget allows (docs/decisions.md).
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
MAX_RESETS = 1000  # more resets than answers: the peer opens streams only to cancel them


class _CountingHeaderTable(HeaderTable):
    """The dynamic table of headers, which counts how often it was changed."""

    changes = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.changes += 1
        super().add(name, value)

    @HeaderTable.maxsize.setter  # type: ignore[attr-defined] # a property
    def maxsize(self, newmax: int) -> None:
        self.changes += 1
        HeaderTable.maxsize.fset(self, newmax)  # type: ignore[attr-defined]


class Http2Connection(Http2Sender):
    """One end of a connection. `write` takes what is to be sent; `accept` makes the streams that the peer begins."""

    def __init__(
        self,
        write: Callable[[list[Buffer]], object],
        accept: Callable[[Http2Connection, int], Stream] | None = None,
        *,
        streams_most: int = 1000,
        parse_headers: Callable[[list[Header]], Any] = list,
    ) -> None:
        """Begin; the end that has no `accept` is the one that asks. `parse_headers` reads headers for `on_headers`."""
        super().__init__(write, asks=accept is None)
        self._accept, self._streams_most, self._parse_headers = accept, streams_most, parse_headers
        self._received = 0
        self._decoder = Decoder(MAX_HEADER_BYTES)
        self._table = self._decoder.header_table = _CountingHeaderTable()
        self._blocks: dict[bytes, Any] = {}  # headers that were read before, and what they mean
        self._block: tuple[Stream | None, bytearray, bool] | None = None  # headers of which more is to come
        self._scratch = memoryview(bytearray(RECEIVE_BUFFER_BYTES))
        self._have = 0
        self._due: tuple[Stream | None, int, bool] | None = None  # data of which more is to come
        self._padding = 0  # that follows them
        self._direct: memoryview | None = None
        self._greeted = accept is None
        settings = [
            (SettingId.MAX_CONCURRENT_STREAMS, streams_most),
            (SettingId.INITIAL_WINDOW_SIZE, STREAM_WINDOW),
        ]
        settings += [
            (SettingId.MAX_FRAME_SIZE, MAX_FRAME_BYTES),
            (SettingId.MAX_HEADER_LIST_SIZE, MAX_HEADER_BYTES),
        ]
        settings += [(SettingId.ENABLE_PUSH, 0)] if accept is None else []
        if accept is None:
            self._out.append(PREFACE)
        self._out.append(frame(FrameType.SETTINGS, 0, 0, b"".join(SETTING.pack(*pair) for pair in settings)))
        self._out.append(frame(FrameType.WINDOW_UPDATE, 0, 0, U32.pack(CONNECTION_WINDOW - DEFAULT_WINDOW)))

    # what comes in

    def get_buffer(self) -> memoryview:
        """Return where the next bytes belong."""
        return self._direct if self._direct is not None else self._scratch[self._have :]

    def buffer_updated(self, size: int) -> None:
        """Work on bytes that have come to where `get_buffer` said."""
        try:
            if self._direct is None:
                self._have += size
                self._parse()
            else:
                self._take_direct(size)
        except ProtocolError as error:
            self._break(error.code, str(error))
        self.flush()

    def receive(self, data: Buffer) -> None:
        """Work on bytes that came elsewhere."""
        view = memoryview(data)
        while view and not self.closed:
            buffer = self.get_buffer()
            size = min(len(buffer), len(view))
            buffer[:size] = view[:size]
            self.buffer_updated(size)
            view = view[size:]

    def _take_direct(self, size: int) -> None:
        stream, left, ends = self._due  # type: ignore[misc] # there is a place, so data are due
        assert stream is not None  # noqa: S101 - as `_expect` gives a place of a stream alone
        stream.filled(size)
        self._expect(stream, left - size, ends)
        self._aim()

    def _expect(self, stream: Stream | None, left: int, ends: bool) -> None:
        """Wait for the rest of a payload, or end it."""
        self._due = None
        if stream is not None and stream.closed:
            stream = None
        if left:
            self._due = (stream, left, ends)
            return
        if self._padding:
            self._due, self._padding = (None, self._padding, False), 0
        if ends and stream is not None:
            self._end(stream)

    def _parse(self) -> None:
        scratch, have = self._scratch, self._have
        position = 0 if self._greeted else self._greet()
        while not self.closed:
            taken = self._take_due(position) if self._due is not None else self._take_frame(position)
            if not taken:
                break
            position += taken
        self._have = have - position
        if position and self._have:
            scratch[: self._have] = bytes(scratch[position:have])
        self._aim()

    def _aim(self) -> None:
        """Let the rest of a large payload come to its place, now that nothing is in between."""
        self._direct = None
        if self._due is not None and not self._have and not self.closed:
            stream, left, _ = self._due
            if stream is not None and left > DIRECT_BYTES:
                self._direct = stream.room(left)

    def _greet(self) -> int:
        """Look at the first bytes of the peer that asks; return how many are taken."""
        begun = min(self._have, len(PREFACE))
        if self._scratch[:begun] != PREFACE[:begun]:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "this is no HTTP/2 with prior knowledge")
        self._greeted = begun == len(PREFACE)
        return begun if self._greeted else 0

    def _take_due(self, position: int) -> int:
        """Take more of a payload; return how much."""
        stream, left, ends = self._due  # type: ignore[misc] # as was just seen
        size = min(left, self._have - position)
        if size:
            if stream is not None and not stream.closed:
                stream.on_data(self._scratch[position : position + size])
            self._expect(stream, left - size, ends)
        return size

    def _take_frame(self, position: int) -> int:
        """Take a frame, or the head of one with data; return how many bytes that was."""
        have = self._have - position
        if have < FRAME_HEADER_BYTES or not self._greeted:
            return 0
        high, low, kind, flags, stream_id = FRAME.unpack_from(self._scratch, position)
        size, stream_id, begin = high << 8 | low, stream_id & MAX_WINDOW, position + FRAME_HEADER_BYTES
        if kind == DATA and self._block is None:
            if flags & PADDED and have == FRAME_HEADER_BYTES:
                return 0
            return FRAME_HEADER_BYTES + self._begin_data(stream_id, size, flags, begin)
        if size > MAX_HEADER_BYTES:
            raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
        if have - FRAME_HEADER_BYTES < size:
            return 0
        self._take(kind, flags, stream_id, bytes(self._scratch[begin : begin + size]))
        return FRAME_HEADER_BYTES + size

    def _begin_data(self, stream_id: int, size: int, flags: int, at: int) -> int:
        """Begin a frame of data; return how much of it is taken already."""
        if not stream_id or (stream_id > self._last and self._accept is not None):
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "data on a stream that never began")
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
            if stream is not None and self._have - at >= size:  # it is all here, as with most messages
                stream.on_data(self._scratch[at : at + size])
                if ends and not stream.closed:
                    self._end(stream)
                return size
            self._expect(stream, size, ends)
            return 0
        self._padding = self._scratch[at]
        if self._padding >= size:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "more padding than data")
        self._expect(stream, size - 1 - self._padding, ends)
        return 1

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is not None and kind != FrameType.CONTINUATION:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "headers were interrupted")
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
                    raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "a ping has eight bytes")
                if not flags & FrameFlag.ACK:
                    self._out.append(frame(FrameType.PING, FrameFlag.ACK, 0, payload))
            case FrameType.GOAWAY:
                self.leaving = True
            case FrameType.WINDOW_UPDATE:
                self._take_window(stream_id, payload)
            case FrameType.CONTINUATION:
                self._take_continuation(flags, stream_id, payload)
            case FrameType.PUSH_PROMISE:
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "a push was promised")
            case _:  # priorities, and what later versions may bring, is not heeded
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
            self._headers(stream, block, ends)
        else:
            self._block = (stream, bytearray(block), ends)
            self._block_id = stream_id

    def _take_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is None or stream_id != self._block_id:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "headers go on that never began")
        stream, block, ends = self._block
        block += payload
        if len(block) > MAX_HEADER_BYTES:
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, "too many headers")
        if flags & END_HEADERS:
            self._block = None
            self._headers(stream, bytes(block), ends)

    def _stream_of(self, stream_id: int) -> Stream | None:
        """Return the stream that headers belong to, which may be a new one, or None where it is gone or refused."""
        stream = self.streams.get(stream_id)
        if stream is not None or self._accept is None or stream_id <= self._last:
            if not stream_id:
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "headers on no stream")
            return stream
        if not stream_id & 1:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "a stream with an even number")
        self._last = stream_id
        if len(self.streams) >= self._streams_most or self.leaving:
            self._out.append(frame(FrameType.RST_STREAM, 0, stream_id, U32.pack(ErrorCode.REFUSED_STREAM)))
            return None
        stream = self.streams[stream_id] = self._accept(self, stream_id)
        return stream

    def _headers(self, stream: Stream | None, block: bytes, ends: bool) -> None:
        """Read a block of headers; one that says the same again, and leaves the table alone, is not read again."""
        headers = self._blocks.get(block)
        if headers is None:
            before = self._table.changes
            try:
                headers = self._parse_headers(list(self._decoder.decode(block, raw=True)))
            except (HPACKError, IndexError, ValueError) as error:
                raise ProtocolError(
                    ErrorCode.COMPRESSION_ERROR, f"headers that cannot be read: {error}"
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
            raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "a reset has four bytes")
        stream = self.streams.pop(stream_id, None)
        if stream is None:
            return
        self._resets += 1
        if self._resets > MAX_RESETS and self._accept is not None:
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, "streams are made only to be cancelled")
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
                    raise ProtocolError(ErrorCode.FLOW_CONTROL_ERROR, "a window too large")
                grown, self.peer_window = value - self.peer_window, value
                for stream in list(self.streams.values()):
                    stream.window += grown
                    self._send_held(stream)
            elif key == SettingId.MAX_FRAME_SIZE:
                if not DEFAULT_FRAME_BYTES <= value <= MAX_FRAME_BYTES:
                    raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "a frame size that is not allowed")
                self.peer_frame = value
            elif key == SettingId.HEADER_TABLE_SIZE:
                self._encoder.header_table_size = min(value, 4096)
        self._out.append(frame(FrameType.SETTINGS, FrameFlag.ACK, 0))

    def _take_window(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "a window update has four bytes")
        grown = U32.unpack(payload)[0] & MAX_WINDOW
        if not stream_id:
            self._window += grown
            if not grown or self._window > MAX_WINDOW:
                raise ProtocolError(
                    ErrorCode.FLOW_CONTROL_ERROR, "a window that is too large, or does not grow"
                )
            for waiting in [one for one in self.streams.values() if one.held]:
                self._send_held(waiting)
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            return
        stream.window += grown
        if not grown or stream.window > MAX_WINDOW:
            self.reset(stream, ErrorCode.FLOW_CONTROL_ERROR)
        else:
            self._send_held(stream)

    def _break(self, code: ErrorCode, told: str) -> None:
        payload = U32.pack(self._last) + U32.pack(code) + told.encode()[:200]
        self._out.append(frame(FrameType.GOAWAY, 0, 0, payload))
        self.lost()

    def lost(self) -> None:
        """Notice that the connection is gone."""
        self.closed = True
        self._due = self._direct = None
        for stream in list(self.streams.values()):
            stream.closed = True
            stream.on_reset(ErrorCode.CANCEL)
        self.streams.clear()
