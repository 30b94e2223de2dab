"""The simulated system: servers, network, clients and failures. Times are in seconds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Literal

from tamis.farm.clock import Clock, SteadyClock
from tamis.serve.batching import choose_batch


@dataclass(frozen=True)
class Policy:
    """How a simulated server groups requests into batches, decided by the server's own rule."""

    rows_most: int = 1  # of one batch
    delay_s: float | None = None  # how long the first request may wait for others; None: no batching
    preferred: tuple[int, ...] = ()

    def choose(self, rows: Sequence[int], queued_s: Sequence[float], now_s: float) -> tuple[int, float]:
        """Return how many queued requests run now, and, if none, until when to wait."""
        if self.delay_s is None:
            return 1, inf
        candidates = ((one, since + self.delay_s) for one, since in zip(rows, queued_s, strict=True))
        return choose_batch(candidates, len(rows), now_s, max_rows=self.rows_most, preferred=self.preferred)


NO_BATCHING = Policy()


@dataclass(frozen=True)
class ServiceTimes:
    """The time of a batch by its number of rows: measured at some sizes, linear between them and beyond the last."""

    rows: tuple[int, ...]
    seconds: tuple[float, ...]

    def at(self, rows: int) -> float:
        """Return the time of a batch of some rows."""
        known, values = self.rows, self.seconds
        if len(known) == 1 or rows <= known[0]:
            return values[0] * max(1.0, rows / known[0])
        right = min(bisect_left(known, rows), len(known) - 1)
        slope = (values[right] - values[right - 1]) / (known[right] - known[right - 1])
        return values[right - 1] + slope * (rows - known[right - 1])


@dataclass(frozen=True)
class ServerSpec:
    """One server: the time of the model, the batching policy, and the event loop's time per request."""

    service: ServiceTimes
    policy: Policy = NO_BATCHING
    instances: int = 1
    in_s: float = 0.0  # of the event loop, to read a request
    out_s: float = 0.0  # of the event loop, to send a response
    quick_s: float = 0.0  # batches up to this time run in the event loop, which reads nothing meanwhile
    waiting_most: int = 4096  # further requests are rejected


@dataclass(frozen=True)
class Network:
    """The network: delays of each request by itself, and a link to each server that all its requests share."""

    flight_s: tuple[float, ...] = (0.0,)  # both ways together; equally likely values
    travel_s: float = 0.0  # one way
    bytes_per_s: float = inf
    request_bytes: int = 0


@dataclass(frozen=True)
class Closed:
    """Clients that send a request, wait for the response, and work on their own before the next request."""

    clients: int
    think_s: float = 0.0
    think: Literal["exponential", "fixed"] = "exponential"


@dataclass(frozen=True)
class Open:
    """Requests that arrive at random, whether or not earlier ones are answered, from a number of clients."""

    rate_hz: float
    clients: int = 64


@dataclass(frozen=True)
class Patience:
    """When a client gives up on a server, and how long it computes by itself instead."""

    timeout_s: float = 1.0
    fallback_s: float = 0.0  # time of the client's own engine


DIRECT, PATIENCE = Network(), Patience()


@dataclass(frozen=True)
class Death:
    """The death of a server: its connections are closed at once, or it stops responding (`silent`)."""

    at_s: float
    server: int = 0
    silent: bool = False


@dataclass(frozen=True)
class Farm:
    """The whole system: load, clients, network and servers."""

    server: ServerSpec
    load: Closed | Open
    servers: int = 1
    network: Network = DIRECT
    patience: Patience = PATIENCE
    rows: int = 1
    death: Death | None = None
    clocks: Sequence[Clock] = field(
        default_factory=lambda: (SteadyClock(),)
    )  # assigned to the servers in turn
