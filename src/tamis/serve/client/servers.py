"""A pool of servers with the same models: connections, round-robin choice, and back-off after failures."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from tamis.serve.client.channel import CallError, reach
from tamis.serve.client.inference import InferChannel
from tamis.serve.client.local import LocalChannel
from tamis.serve.protocol.local import LOCAL_SCHEME
from tamis.serve.tls import Credentials
from tamis.serve.wire.grpc import Status

REST_FIRST_S, REST_MOST_S = 0.1, 5.0  # pause after the first failure in a row, and longest one
MAX_REST_DOUBLINGS = 10
SERVER_CONNECT_S = 1.0
NO_CREDENTIALS = Credentials()


class RemoteServer:
    """A server: its free connections, and its recent failures."""

    def __init__(self, address: str, credentials: Credentials = NO_CREDENTIALS) -> None:
        """Store the address; connections are opened when needed."""
        self.address, self._tls = reach(address, credentials)
        self._token = credentials.token
        self._free: deque[InferChannel | LocalChannel] = deque()
        self._lock = threading.Lock()
        self.failures = 0  # in a row
        self.rests_until = 0.0
        self.verified = False
        self.last_error = ""

    @property
    def rests(self) -> bool:
        """Return whether it failed recently and is not to be used yet."""
        return monotonic() < self.rests_until

    @contextmanager
    def channel(self) -> Iterator[InferChannel | LocalChannel]:
        """Provide a connection; after an error it is closed, otherwise reused."""
        channel = self._take()
        try:
            yield channel
        except BaseException:
            channel.close()
            raise
        self._free.append(channel)

    def _take(self) -> InferChannel | LocalChannel:
        while self._free:
            try:
                channel = self._free.pop()
            except IndexError:
                break
            if not channel.is_stale():
                return channel
            channel.close()
        try:
            if self.address.startswith(LOCAL_SCHEME):
                return LocalChannel(self.address, connect_s=SERVER_CONNECT_S)
            return InferChannel(self.address, connect_s=SERVER_CONNECT_S, tls=self._tls, token=self._token)
        except (OSError, ValueError) as error:
            raise CallError(Status.UNAVAILABLE, f"{self.address} cannot be reached: {error}") from error

    def failed(self, message: str) -> None:
        """Let it rest, twice as long after each failure in a row."""
        with self._lock:
            self.failures += 1
            self.verified = False
            self.last_error = message
            doublings = min(
                self.failures - 1, MAX_REST_DOUBLINGS
            )  # otherwise 2**n overflows for a server that is down for days
            self.rests_until = monotonic() + min(REST_MOST_S, REST_FIRST_S * 2**doublings)

    def succeeded(self) -> None:
        """Reset the failures."""
        self.failures, self.rests_until = 0, 0.0

    def close(self) -> None:
        """Close its free connections."""
        while self._free:
            self._free.pop().close()


class ServerPool:
    """All servers, used in turn."""

    def __init__(self, addresses: tuple[str, ...], credentials: Credentials = NO_CREDENTIALS) -> None:
        """Store the addresses."""
        self.all = [RemoteServer(address, credentials) for address in addresses]
        self._turn = 0

    def in_turn(self) -> list[RemoteServer]:
        """Return the servers that do not rest, starting with another one each time."""
        self._turn += 1
        available = [server for server in self.all if not server.rests]
        # Modulo the available ones: otherwise the one after a dead server would get its load too.
        turn = self._turn % max(1, len(available))
        return available[turn:] + available[:turn]

    def close(self) -> None:
        """Close all connections."""
        for server in self.all:
            server.close()
