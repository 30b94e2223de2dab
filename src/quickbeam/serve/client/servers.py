"""Several servers of the same models: which one is asked next, and which ones are left alone for a while."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from quickbeam.serve.client.channel import CallError
from quickbeam.serve.client.inference import InferChannel
from quickbeam.serve.client.local import LocalChannel
from quickbeam.serve.protocol.local import SCHEME as LOCAL
from quickbeam.serve.wire.grpc import Status

REST_FIRST_S, REST_MOST_S = 0.1, 5.0
CONNECT_S = 1.0
SCHEME = "grpc://"


class Server:
    """One server: its free connections, and whether it has failed lately."""

    def __init__(self, address: str, token: str | None = None) -> None:
        """Note where it is; it is connected to when it is asked."""
        self.address, self._token = address.removeprefix(SCHEME), token
        self._free: deque[InferChannel | LocalChannel] = deque()
        self._lock = threading.Lock()
        self.failures = 0  # one after the other
        self.rests_until = 0.0
        self.verified = False
        self.last_error = ""

    @property
    def rests(self) -> bool:
        """Tell whether it has failed, and is not to be asked yet."""
        return monotonic() < self.rests_until

    @contextmanager
    def channel(self) -> Iterator[InferChannel | LocalChannel]:
        """Lend a connection; one on which something went wrong is not lent again."""
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
            if self.address.startswith(LOCAL):
                return LocalChannel(self.address, connect_s=CONNECT_S)
            return InferChannel(self.address, connect_s=CONNECT_S, token=self._token)
        except (OSError, ValueError) as error:
            raise CallError(Status.UNAVAILABLE, f"{self.address} cannot be reached: {error}") from error

    def failed(self, told: str) -> None:
        """Leave it alone for a while, twice as long each time."""
        with self._lock:
            self.failures += 1
            self.verified = False
            self.last_error = told
            self.rests_until = monotonic() + min(REST_MOST_S, REST_FIRST_S * 2 ** (self.failures - 1))

    def succeeded(self) -> None:
        """Forget that it ever failed."""
        self.failures, self.rests_until = 0, 0.0

    def close(self) -> None:
        """Close its free connections."""
        while self._free:
            self._free.pop().close()


class Servers:
    """All servers, asked in turn."""

    def __init__(self, addresses: tuple[str, ...], token: str | None = None) -> None:
        """Note where they are."""
        self.all = [Server(address, token) for address in addresses]
        self._turn = 0

    def in_turn(self) -> list[Server]:
        """Return those that may be asked, beginning with another one each time."""
        self._turn = turn = (self._turn + 1) % len(self.all)
        ordered = self.all[turn:] + self.all[:turn]
        return [server for server in ordered if not server.rests]

    def close(self) -> None:
        """Close all connections."""
        for server in self.all:
            server.close()
