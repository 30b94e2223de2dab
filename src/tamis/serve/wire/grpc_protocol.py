"""A gRPC server's connections on asyncio's sockets."""

from __future__ import annotations

import asyncio
from typing import Any

from tamis.serve.wire import Buffer
from tamis.serve.wire.grpc import GrpcConfig, ServerCall, parse_call_headers
from tamis.serve.wire.http2 import Http2Connection


class GrpcProtocol(asyncio.BufferedProtocol):
    """One connection; it is in `connections` while it is open."""

    def __init__(self, config: GrpcConfig, connections: set[GrpcProtocol]) -> None:
        """Wait for the transport."""
        self._config, self._connections = config, connections
        self._transport: Any = None
        self.connection: Http2Connection | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the settings."""
        self._transport = transport
        config = self._config
        self.connection = Http2Connection(
            self._send,
            lambda connection, stream: ServerCall(connection, stream, config),
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
        """Return the memory for the next bytes."""
        del sizehint
        assert self.connection is not None  # noqa: S101 - set by `connection_made`
        return self.connection.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Handle received bytes."""
        assert self.connection is not None  # noqa: S101 - set by `connection_made`
        if self.connection.closed:
            return
        self.connection.buffer_updated(nbytes)

    def eof_received(self) -> bool:
        """Close when the client does."""
        return False

    def pause_writing(self) -> None:
        """Stop reading from a client that does not read its responses."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again."""
        self._transport.resume_reading()

    @property
    def in_flight(self) -> int:
        """Number of open calls, plus one while response bytes wait for the socket."""
        if self.connection is None:
            return 0
        return len(self.connection.streams) + bool(self._transport.get_write_buffer_size())

    def close(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def go_away(self) -> None:
        """Accept no new calls; open calls are finished."""
        if self.connection is not None and not self.connection.closed:
            self.connection.go_away()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the open calls."""
        del exc
        self._connections.discard(self)
        if self.connection is not None:
            self.connection.lost()
