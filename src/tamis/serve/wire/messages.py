"""gRPC's messages in the data of a stream: each is its size, in five bytes with a flag, and its bytes."""

from __future__ import annotations

import zlib

from tamis.serve.wire import Buffer
from tamis.serve.wire.sending import Http2Sender, Stream

PREFIX_BYTES = 5


class MessageStream(Stream):
    """A stream that is cut into messages; each is assembled where its bytes come in."""

    __slots__ = ("_filled", "_message", "_packed", "_prefix")

    def __init__(self, connection: Http2Sender, stream_id: int) -> None:
        """Begin with nothing."""
        super().__init__(connection, stream_id)
        self._prefix = b""
        self._message: bytearray | None = None
        self._filled = 0
        self._packed = False  # the message is compressed

    def admit(self, size: int) -> bool:
        """Tell whether a message of a size is taken; where it is not, the stream has been ended."""
        del size
        return True

    def on_message(self, message: Buffer, packed: bool) -> None:
        """Take a message."""

    @property
    def is_cut_short(self) -> bool:
        """Tell whether a message has begun and not ended."""
        return self._message is not None or bool(self._prefix)

    def on_data(self, data: memoryview) -> None:
        """Take a piece of the messages."""
        size = len(data) - PREFIX_BYTES
        if (
            self._message is None
            and not self._prefix
            and size >= 0
            and size == int.from_bytes(data[1:PREFIX_BYTES], "big")
        ):
            if self.admit(size):  # one whole message, as most are
                self.on_message(bytes(data[PREFIX_BYTES:]), bool(data[0]))
            return
        while len(data) and not self.closed:
            if self._message is not None:
                size = min(len(data), len(self._message) - self._filled)
                self._message[self._filled : self._filled + size] = data[:size]
                data = data[size:]
                self.filled(size)
                continue
            if not self._prefix and len(data) >= PREFIX_BYTES:
                prefix, rest = data[:PREFIX_BYTES], data[PREFIX_BYTES:]
            else:
                size = PREFIX_BYTES - len(self._prefix)
                self._prefix += bytes(data[:size])
                prefix, rest = memoryview(self._prefix), data[size:]
                if len(prefix) < PREFIX_BYTES:
                    return
            data = self._begin_message(prefix[0], int.from_bytes(prefix[1:], "big"), rest)

    def _begin_message(self, packed: int, size: int, rest: memoryview) -> memoryview:
        """Begin a message; return what lies behind it."""
        self._prefix = b""
        if not self.admit(size):
            return rest
        self._packed = bool(packed)
        if len(rest) >= size:
            self.on_message(bytes(rest[:size]), self._packed)
            return rest[size:]
        self._message, self._filled = bytearray(size), 0
        return rest

    def room(self, size: int) -> memoryview | None:
        """Return where the rest of the message is to be."""
        if self._message is None:
            return None
        return memoryview(self._message)[self._filled : self._filled + size]

    def filled(self, size: int) -> None:
        """Notice that more of the message is there."""
        self._filled += size
        message = self._message
        if message is not None and self._filled == len(message):
            self._message = None
            self.on_message(message, self._packed)

    def let_go(self) -> None:
        """Forget what came so far."""
        self._message, self._prefix = None, b""


def unpacked(message: Buffer, encoding: str, most: int) -> bytes | None:
    """Return a message that was compressed as gzip or deflate, or None where it is more than it may be, or cut short."""
    inflate = zlib.decompressobj(zlib.MAX_WBITS | (16 if encoding == "gzip" else 0))
    found = inflate.decompress(message, most)
    return found if inflate.eof and not inflate.unconsumed_tail else None


def message_prefix(size: int) -> bytes:
    """Return what stands before a message."""
    return b"\0" + size.to_bytes(4, "big")
