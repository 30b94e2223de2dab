"""An HTTP/1.1 server's connections on asyncio's sockets: responses in the order of their requests, and time limits."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from tamis.serve.wire.http1 import BODY, CONTINUE, ENDED, HEAD, IDLE, HttpConfig, HttpRequest, RequestParser


class HttpProtocol(asyncio.BufferedProtocol):
    """One connection; it is in `connections` while it is open."""

    def __init__(self, config: HttpConfig, connections: set[HttpProtocol]) -> None:
        """Wait for the transport."""
        self._config, self._limits, self._connections = config, config.limits, connections
        self._transport: Any = None
        self._parser = RequestParser(config, self)
        self._queue: deque[HttpRequest] = deque()  # unanswered requests, the oldest first
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._since = self._unread_since = 0.0  # when the time limits started
        self._received, self._unread = (
            0,
            0,
        )  # then: bytes of the body, bytes of responses that the client has not read
        self._phase = IDLE
        self._write_paused = self._read_paused = False
        self._draining = self._lingering = self._half_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the time limits."""
        self._transport = transport
        self._connections.add(self)
        self._since = self._loop.time()
        self._timer = self._loop.call_later(self._limits.tick_s, self._check_times)

    # receiving

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the memory for the next bytes."""
        del sizehint
        return self._parser.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Handle received bytes."""
        if self._lingering:
            return
        parser = self._parser
        parser.buffer_updated(nbytes)
        if (
            parser.phase != self._phase
            or abs(parser.received - self._received) >= self._limits.min_body_bytes
        ):
            self._phase, self._received, self._since = parser.phase, parser.received, self._loop.time()
        if len(self._queue) >= self._limits.max_pipelined:
            self._pause_or_resume()

    def request_started(self, request: HttpRequest) -> None:
        """Queue a request whose head has arrived."""
        self._queue.append(request)
        if request.awaits_continue:
            self._loop.call_soon(self._continue)  # after the checks of the head, which may reject it

    def _continue(self) -> None:
        """Send 100 Continue if the next request in line waits for it."""
        if self._queue and self._queue[0].awaits_continue and not self._transport.is_closing():
            self._queue[0].awaits_continue = False
            self._transport.write(CONTINUE)

    def request_received(self, request: HttpRequest) -> None:
        """Pass a complete request to the handler."""
        self._config.handle(request)

    # responding

    def request_answered(self, request: HttpRequest) -> None:
        """Send the responses that are next in line."""
        queue = self._queue
        if not queue or queue[0] is not request:
            return
        while queue and queue[0].reply is not None:
            first = queue.popleft()
            self._release(first)
            if self._draining and not queue and self._parser.phase in (IDLE, ENDED):
                first.closes = True
            self._transport.writelines(first.encode_response())
            if first.closes:
                self._finish()
                return
        if queue:
            self._continue()
        else:
            self._since = self._loop.time()
            if self._half_closed:
                self._transport.close()
        if self._read_paused:
            self._pause_or_resume()

    def _release(self, request: HttpRequest) -> None:
        if request.reserved:
            self._config.release(request.reserved)
            request.reserved = 0

    def _finish(self) -> None:
        """Close the connection, after a while if the client may still be sending and has an error to read."""
        self._parser.end()
        self._cancel_requests()
        if self._lingering or self._transport.is_closing():
            return
        can_write_eof = self._transport.can_write_eof()  # not with TLS
        if self._half_closed or not (can_write_eof or self._parser.failed):
            self._transport.close()
            return
        self._lingering, self._since = True, self._loop.time()
        if can_write_eof:
            self._transport.write_eof()
        self._pause_or_resume()

    def _cancel_requests(self) -> None:
        while self._queue:
            request = self._queue.popleft()
            self._release(request)
            request.cancelled = True

    # flow control and time limits

    def _pause_or_resume(self) -> None:
        """Read only while the client reads its responses and has few unanswered requests."""
        coming = self._parser.phase == BODY  # the last request, which cannot be answered before it is read
        full = len(self._queue) - coming >= self._limits.max_pipelined
        paused = (full or self._write_paused) and not self._lingering
        if paused != self._read_paused and not self._transport.is_closing():
            self._read_paused = paused
            self._since = self._loop.time()
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Stop reading from a client that does not read its responses."""
        self._write_paused = True
        self._unread, self._unread_since = self._transport.get_write_buffer_size(), self._loop.time()
        self._pause_or_resume()

    def resume_writing(self) -> None:
        """Read again."""
        self._write_paused = False
        self._pause_or_resume()

    def _check_times(self) -> None:
        """Close the connection of a client that takes too long."""
        now, limits, phase = self._loop.time(), self._limits, self._parser.phase
        self._timer = self._loop.call_later(limits.tick_s, self._check_times)
        if self._write_paused:
            unread = self._transport.get_write_buffer_size()
            if unread < self._unread:
                self._unread, self._unread_since = unread, now
            elif now - self._unread_since > limits.write_s:
                self._transport.abort()
        elif self._lingering:
            if now - self._since > limits.linger_s:
                self._transport.abort()
        elif self._read_paused:
            return
        elif phase == HEAD and now - self._since > limits.head_s:
            self._parser.abort(408, f"the head of the request took longer than {limits.head_s:g} s")
        elif phase == BODY and now - self._since > limits.body_s:
            self._parser.abort(
                408, f"less than {limits.min_body_bytes} bytes of the body arrived within {limits.body_s:g} s"
            )
        elif phase == IDLE and not self._queue and now - self._since > limits.idle_s:
            self._transport.close()

    # closing

    def drain(self) -> None:
        """Answer the requests that have arrived, then close."""
        self._draining = True
        if not self._queue and self._parser.phase in (IDLE, ENDED) and not self._lingering:
            self._parser.end()
            self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def eof_received(self) -> bool:
        """Answer the requests of a client that has finished sending; TLS connections cannot be half open."""
        self._half_closed = True
        if self._transport.get_extra_info("sslcontext") is not None or self._lingering:
            return False
        self._parser.end_of_input()
        return bool(self._queue)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the unanswered requests."""
        del exc
        self._connections.discard(self)
        self._parser.end()
        self._cancel_requests()
        if self._timer is not None:
            self._timer.cancel()


async def drain_connections(connections: set[HttpProtocol], seconds: float) -> int:
    """Let connections finish their responses; return the number that were cut off after `seconds`."""
    for connection in list(connections):
        connection.drain()
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while connections and loop.time() < until:  # noqa: ASYNC110 - once, at shutdown
        await asyncio.sleep(0.01)
    remaining = list(connections)
    for connection in remaining:
        connection.abort()
    return len(remaining)
