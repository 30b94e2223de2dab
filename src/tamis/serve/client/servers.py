"""Several servers of the same models: which one is asked next, and which ones are left alone for a while."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from tamis.serve.client.channel import CallError, reach
from tamis.serve.client.inference import InferChannel
from tamis.serve.client.local import LocalChannel
from tamis.serve.protocol.local import SCHEME as LOCAL
from tamis.serve.tls import Credentials
from tamis.serve.wire.grpc import Status

REST_FIRST_S, REST_MOST_S = 0.1, 5.0
DOUBLINGS_MOST = 10
CONNECT_S = 1.0
NONE = Credentials()


class RemoteServer:
    """One server: its free connections, and whether it has failed lately."""

    def __init__(self, address: str, credentials: Credentials = NONE) -> None:
        """Note where it is; it is connected to when it is asked."""
        self.address, self._tls = reach(address, credentials)
        self._token = credentials.token
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
            return InferChannel(self.address, connect_s=CONNECT_S, tls=self._tls, token=self._token)
        except (OSError, ValueError) as error:
            raise CallError(Status.UNAVAILABLE, f"{self.address} cannot be reached: {error}") from error

    def failed(self, told: str) -> None:
        """Leave it alone for a while, twice as long each time."""
        with self._lock:
            self.failures += 1
            self.verified = False
            self.last_error = told
            doublings = min(self.failures - 1, DOUBLINGS_MOST)  # a server may be away for days
            self.rests_until = monotonic() + min(REST_MOST_S, REST_FIRST_S * 2**doublings)

    def succeeded(self) -> None:
        """Forget that it ever failed."""
        self.failures, self.rests_until = 0, 0.0

    def close(self) -> None:
        """Close its free connections."""
        while self._free:
            self._free.pop().close()


class ServerPool:
    """All servers, asked in turn."""

    def __init__(self, addresses: tuple[str, ...], credentials: Credentials = NONE) -> None:
        """Note where they are."""
        self.all = [RemoteServer(address, credentials) for address in addresses]
        self._turn = 0

    def in_turn(self) -> list[RemoteServer]:
        """Return those that may be asked, beginning with another one each time."""
        self._turn += 1
        awake = [server for server in self.all if not server.rests]
        turn = self._turn % max(
            1, len(awake)
        )  # of those: or the one behind a dead one would bear its load alone
        return awake[turn:] + awake[:turn]

    def close(self) -> None:
        """Close all connections."""
        for server in self.all:
            server.close()
