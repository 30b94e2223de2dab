"""The constants of HTTP/2 (RFC 9113): frame types, flags, settings and error codes, and how a frame is packed."""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag

Header = tuple[bytes, bytes]


class FrameType(IntEnum):
    """Types of frames (RFC 9113, section 6)."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class FrameFlag(IntFlag):
    """Flags of frames; `ACK` shares its bit with `END_STREAM`."""

    END_STREAM = 0x1
    ACK = 0x1
    END_HEADERS = 0x4
    PADDED = 0x8
    PRIORITY = 0x20


class SettingId(IntEnum):
    """Identifiers of settings (RFC 9113, section 6.5.2)."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ErrorCode(IntEnum):
    """Error codes (RFC 9113, section 7)."""

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


# Plain integers for the code that runs on every frame: `flags & FrameFlag.PADDED` costs 0.8 us, `flags & PADDED` 0.01 us.
DATA, HEADERS = int(FrameType.DATA), int(FrameType.HEADERS)
END_STREAM, END_HEADERS = int(FrameFlag.END_STREAM), int(FrameFlag.END_HEADERS)
PADDED, PRIORITY = int(FrameFlag.PADDED), int(FrameFlag.PRIORITY)
LAST_HEADERS = END_HEADERS | END_STREAM

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DEFAULT_WINDOW, MAX_WINDOW = 65_535, (1 << 31) - 1
FRAME_HEADER_BYTES = 9
DEFAULT_FRAME_BYTES, MAX_FRAME_BYTES = 16_384, (1 << 24) - 1
MAX_JOINED_BYTES = 1 << 14  # data up to this size are copied into one piece for the socket

FRAME = struct.Struct(">HBBBI")
U32, SETTING = struct.Struct(">I"), struct.Struct(">HI")


class ProtocolError(Exception):
    """The peer violates HTTP/2, so the whole connection has to be closed."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        """Store the error code for the GOAWAY frame beside the message."""
        super().__init__(message)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame with its header."""
    size = len(payload)
    return FRAME.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload
