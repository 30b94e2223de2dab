"""Connections of HTTP/1.1 that come in, on asyncio's sockets: answers in the order of their requests, and time limits."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from tamis.serve.wire.http1 import BODY, CONTINUE, ENDED, HEAD, IDLE, HttpConfig, HttpRequest, RequestParser


class HttpProtocol(asyncio.BufferedProtocol):
    """One connection."""

    def __init__(self, rules: HttpConfig, connections: set[HttpProtocol]) -> None:
        """Prepare."""
        self._rules, self._limits, self._connections = rules, rules.limits, connections
        self._transport: Any = None
        self._reader = RequestParser(rules, self)
        self._queue: deque[HttpRequest] = deque()  # requests in their order, the oldest first
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._since = self._unread_since = 0.0
        self._had, self._unread = 0, 0  # bytes: of a body then, and of answers that the peer has not read
        self._phase = IDLE
        self._write_paused = self._read_paused = False
        self._draining = self._lingering = self._half_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to watch the time."""
        self._transport = transport
        self._connections.add(self)
        self._since = self._loop.time()
        self._timer = self._loop.call_later(self._limits.tick_s, self._tick)

    # what comes in

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes belong."""
        del sizehint
        return self._reader.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Work on what came."""
        if self._lingering:
            return
        reader = self._reader
        reader.buffer_updated(nbytes)
        if reader.phase != self._phase or abs(reader.received - self._had) >= self._limits.body_bytes_least:
            self._enter(reader.phase)
        if len(self._queue) >= self._limits.pipeline_most:
            self._mind_reading()

    def _enter(self, phase: int) -> None:
        self._phase, self._had, self._since = phase, self._reader.received, self._loop.time()

    def begun(self, request: HttpRequest) -> None:
        """Give a request its place."""
        self._queue.append(request)
        if request.awaits_continue:
            self._loop.call_soon(self._continue)  # unless its head alone is reason enough to refuse it

    def _continue(self) -> None:
        """Let the body of the request come that is next to be answered."""
        if self._queue and self._queue[0].awaits_continue and not self._transport.is_closing():
            self._queue[0].awaits_continue = False
            self._transport.write(CONTINUE)

    def complete(self, request: HttpRequest) -> None:
        """Have a request answered."""
        self._rules.handle(request)

    # what goes out

    def answered(self, request: HttpRequest) -> None:
        """Send answers whose turn it is."""
        queue = self._queue
        if not queue or queue[0] is not request:
            return
        while queue and queue[0].reply is not None:
            first = queue.popleft()
            self._release(first)
            if self._draining and not queue and self._reader.phase in (IDLE, ENDED):
                first.closes = True
            self._transport.writelines(first.written())
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
            self._mind_reading()

    def _release(self, request: HttpRequest) -> None:
        if request.reserved:
            self._rules.release(request.reserved)
            request.reserved = 0

    def _finish(self) -> None:
        """Close; a peer that still sends is given the time to read why."""
        self._reader.end()
        self._forget()
        if self._lingering or self._transport.is_closing():
            return
        can_write_eof = self._transport.can_write_eof()  # not with TLS
        if self._half_closed or not (can_write_eof or self._reader.is_broken):
            self._transport.close()
            return
        self._lingering, self._since = True, self._loop.time()
        if can_write_eof:
            self._transport.write_eof()
        self._mind_reading()

    def _forget(self) -> None:
        """Tell whoever works on a request that nobody waits for it any more."""
        while self._queue:
            request = self._queue.popleft()
            self._release(request)
            request.cancelled = True

    # how fast

    def _mind_reading(self) -> None:
        """Read no more from a peer that does not read, or that asks faster than it is answered."""
        coming = self._reader.phase == BODY  # the last one, which can only be answered if reading goes on
        full = len(self._queue) - coming >= self._limits.pipeline_most
        paused = (full or self._write_paused) and not self._lingering
        if paused != self._read_paused and not self._transport.is_closing():
            self._read_paused = paused
            self._since = self._loop.time()
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Notice that the peer does not read."""
        self._write_paused = True
        self._unread, self._unread_since = self._transport.get_write_buffer_size(), self._loop.time()
        self._mind_reading()

    def resume_writing(self) -> None:
        """Notice that it does again."""
        self._write_paused = False
        self._mind_reading()

    def _tick(self) -> None:
        """Look whether the peer takes too long."""
        now, limits, phase = self._loop.time(), self._limits, self._reader.phase
        self._timer = self._loop.call_later(limits.tick_s, self._tick)
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
            self._reader.broken(408, f"the head of the request took longer than {limits.head_s:g} s")
        elif phase == BODY and now - self._since > limits.body_s:
            self._reader.broken(408, f"hardly anything of the body came within {limits.body_s:g} s")
        elif phase == IDLE and not self._queue and now - self._since > limits.idle_s:
            self._transport.close()

    # the end

    def drain(self) -> None:
        """Answer what has come, and close."""
        self._draining = True
        if not self._queue and self._reader.phase in (IDLE, ENDED) and not self._lingering:
            self._reader.end()
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def eof_received(self) -> bool:
        """Answer what has come of a peer that sends no more; TLS cannot be half open."""
        self._half_closed = True
        if self._transport.get_extra_info("sslcontext") is not None or self._lingering:
            return False
        self._reader.cut()
        return bool(self._queue)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        del exc
        self._connections.discard(self)
        self._reader.end()
        self._forget()
        if self._timer is not None:
            self._timer.cancel()


async def drained(connections: set[HttpProtocol], seconds: float) -> int:
    """Let connections end with their answers; return how many had to be cut off."""
    for one in list(connections):
        one.drain()
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while connections and loop.time() < until:  # noqa: ASYNC110 - once, at the very end
        await asyncio.sleep(0.01)
    left = list(connections)
    for one in left:
        one.abort()
    return len(left)
