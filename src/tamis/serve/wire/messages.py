"""gRPC messages in the data of an HTTP/2 stream: a compression flag, the size in four bytes, then the message."""

from __future__ import annotations

import zlib

from tamis.serve.wire import Buffer
from tamis.serve.wire.sending import Http2Sender, Stream

PREFIX_BYTES = 5


class MessageStream(Stream):
    """A stream that splits its data into messages; a large message is received straight into its own memory."""

    __slots__ = ("_compressed", "_filled", "_message", "_prefix")

    def __init__(self, connection: Http2Sender, stream_id: int) -> None:
        """Start without a partial message."""
        super().__init__(connection, stream_id)
        self._prefix = b""
        self._message: bytearray | None = None
        self._filled = 0
        self._compressed = False

    def accept_message(self, size: int) -> bool:
        """Return whether to receive a message of this size; where not, the override has ended the stream."""
        del size
        return True

    def on_message(self, message: Buffer, compressed: bool) -> None:
        """Handle a complete message."""

    @property
    def is_truncated(self) -> bool:
        """Whether a message has begun and is not complete."""
        return self._message is not None or bool(self._prefix)

    def on_data(self, data: memoryview) -> None:
        """Split data into messages."""
        size = len(data) - PREFIX_BYTES
        if (
            self._message is None
            and not self._prefix
            and size >= 0
            and size == int.from_bytes(data[1:PREFIX_BYTES], "big")
        ):
            if self.accept_message(size):  # exactly one message, the usual case
                self.on_message(bytes(data[PREFIX_BYTES:]), bool(data[0]))
            return
        while len(data) and not self.closed:
            if self._message is not None:
                size = min(len(data), len(self._message) - self._filled)
                self._message[self._filled : self._filled + size] = data[:size]
                data = data[size:]
                self.direct_filled(size)
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

    def _begin_message(self, compressed: int, size: int, rest: memoryview) -> memoryview:
        """Start a message, or pass it on if it is complete; return the data that are not consumed."""
        self._prefix = b""
        if not self.accept_message(size):
            return rest
        self._compressed = bool(compressed)
        if len(rest) >= size:
            self.on_message(bytes(rest[:size]), self._compressed)
            return rest[size:]
        self._message, self._filled = bytearray(size), 0
        return rest

    def direct_buffer(self, size: int) -> memoryview | None:
        """Return the memory for the rest of the partial message, or None where no message has begun."""
        if self._message is None:
            return None
        return memoryview(self._message)[self._filled : self._filled + size]

    def direct_filled(self, size: int) -> None:
        """Count bytes that were received into the partial message; handle it when it is complete."""
        self._filled += size
        message = self._message
        if message is not None and self._filled == len(message):
            self._message = None
            self.on_message(message, self._compressed)

    def discard_partial(self) -> None:
        """Drop the partial message."""
        self._message, self._prefix = None, b""


def decompress_message(message: Buffer, encoding: str, max_bytes: int) -> bytes | None:
    """Decompress a gzip or deflate message; return None if it is truncated or larger than `max_bytes`."""
    inflate = zlib.decompressobj(zlib.MAX_WBITS | (16 if encoding == "gzip" else 0))
    result = inflate.decompress(message, max_bytes)
    return result if inflate.eof and not inflate.unconsumed_tail else None


def message_prefix(size: int) -> bytes:
    """Return the prefix of an uncompressed message."""
    return b"\0" + size.to_bytes(4, "big")
