"""The pieces of HTTP/2: frames, error codes, and streams."""

from __future__ import annotations

import struct
from collections import deque
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tamis.serve.wire.sending import Sending

Header = tuple[bytes, bytes]
Chunk = bytes | bytearray | memoryview

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITISED = 0x4, 0x8, 0x20
(
    HEADER_TABLE_SIZE,
    ENABLE_PUSH,
    MAX_CONCURRENT_STREAMS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
) = range(1, 7)

WINDOW_START, WINDOW_MOST = 65_535, (1 << 31) - 1
FRAME_HEAD, FRAME_START = 9, 16_384
FRAME_MOST = (1 << 24) - 1
SCRATCH_BYTES = 1 << 18
HEADER_BYTES_MOST = 1 << 16  # of a block as it travels, and of its headers as they are read
JOINED_MOST = 1 << 14  # bytes of an answer that are sent in one piece
DIRECT_BYTES = 1 << 14  # payloads with more than this to come are received where they are to be
STREAM_WINDOW = 1 << 24
CONNECTION_WINDOW = WINDOW_MOST
BLOCKS_KNOWN = 256
RESETS_MOST = 1000  # more of them than answers: somebody makes streams only to cancel them

FRAME = struct.Struct(">HBBBI")
U32, SETTING = struct.Struct(">I"), struct.Struct(">HI")


class Code(IntEnum):
    """Error codes of HTTP/2."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class BrokenConnection(Exception):  # noqa: N818 - the peer's error, not ours
    """The peer breaks the protocol, so that nothing on this connection means anything any more."""

    def __init__(self, code: Code, told: str) -> None:
        """Keep what the peer is told."""
        super().__init__(told)
        self.code = code


class Stream:
    """One exchange. Subclasses say what becomes of headers and data; views of data are valid during the call alone."""

    __slots__ = ("closed", "connection", "ended", "held", "id", "received", "window")

    def __init__(self, connection: Sending, stream_id: int) -> None:
        """Begin an exchange."""
        self.connection, self.id = connection, stream_id
        self.window = connection.peer_window  # what may still be sent
        self.held: deque[tuple[Chunk, bool]] | None = (
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


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame."""
    size = len(payload)
    return FRAME.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload
