"""Connections that come in, on asyncio's sockets."""

from __future__ import annotations

import asyncio
from typing import Any

from tamis.serve.wire import Buffer
from tamis.serve.wire.grpc import GrpcConfig, ServerCall, parse_call_headers
from tamis.serve.wire.http2 import Http2Connection


class GrpcProtocol(asyncio.BufferedProtocol):
    """One connection of gRPC."""

    def __init__(self, rules: GrpcConfig, connections: set[GrpcProtocol]) -> None:
        """Prepare."""
        self._rules, self._connections = rules, connections
        self._transport: Any = None
        self.connection: Http2Connection | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport = transport
        rules = self._rules
        self.connection = Http2Connection(
            self._send,
            lambda connection, stream: ServerCall(connection, stream, rules),
            parse_headers=parse_call_headers,
        )
        self._connections.add(self)
        self.connection.flush()

    def _send(self, chunks: list[Buffer]) -> None:
        if len(chunks) == 1:
            self._transport.write(chunks[0])
        else:
            self._transport.writelines(chunks)
        if self.connection is not None and self.connection.closed:
            self._transport.close()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes belong."""
        del sizehint
        assert self.connection is not None  # noqa: S101 - it was made
        return self.connection.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Work on what came."""
        assert self.connection is not None  # noqa: S101 - it was made
        if self.connection.closed:
            return
        self.connection.buffer_updated(nbytes)

    def eof_received(self) -> bool:
        """Close when the peer does."""
        return False

    def pause_writing(self) -> None:
        """Read no more from a peer that does not read."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._transport.resume_reading()

    @property
    def under_way(self) -> int:
        """Return how many calls are not answered yet, and whether an answer is not sent yet."""
        if self.connection is None:
            return 0
        return len(self.connection.streams) + bool(self._transport.get_write_buffer_size())

    def close(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def leave(self) -> None:
        """Take nothing new; what runs is finished, and then the connection is closed."""
        if self.connection is not None and not self.connection.closed:
            self.connection.leave()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        del exc
        self._connections.discard(self)
        if self.connection is not None:
            self.connection.lost()
