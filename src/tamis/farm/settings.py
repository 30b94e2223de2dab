"""What is simulated: servers, the way to them, clients, and what goes wrong. Times in seconds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Literal

from tamis.farm.clock import Clock, SteadyClock
from tamis.farm.policy import Policy

ALONE = Policy()


@dataclass(frozen=True)
class ServiceTimes:
    """What a batch takes, measured at some sizes, on straight lines between them and beyond the last."""

    rows: tuple[int, ...]
    seconds: tuple[float, ...]

    def at(self, rows: int) -> float:
        """Return what a batch of so many rows takes."""
        known, values = self.rows, self.seconds
        if len(known) == 1 or rows <= known[0]:
            return values[0] * max(1.0, rows / known[0])
        right = min(bisect_left(known, rows), len(known) - 1)
        slope = (values[right] - values[right - 1]) / (known[right] - known[right - 1])
        return values[right - 1] + slope * (rows - known[right - 1])


@dataclass(frozen=True)
class ServerSpec:
    """One server: the model's time, how it batches, and what its event loop does for each request, one after the other."""

    service: ServiceTimes
    policy: Policy = ALONE
    instances: int = 1
    in_s: float = 0.0
    out_s: float = 0.0
    quick_s: float = (
        0.0  # a batch that takes no longer runs in the loop itself, and nothing is read meanwhile
    )
    waiting_most: int = 4096


@dataclass(frozen=True)
class Network:
    """The way: time that belongs to each request alone, and a line to each server that all its requests share."""

    flight_s: tuple[float, ...] = (0.0,)  # there and back together: equally likely values
    travel_s: float = 0.0  # one way
    bytes_per_s: float = inf
    request_bytes: int = 0


@dataclass(frozen=True)
class Closed:
    """Clients that ask, wait, and work on their own before they ask again."""

    clients: int
    think_s: float = 0.0
    think: Literal["exponential", "fixed"] = "exponential"


@dataclass(frozen=True)
class Open:
    """Requests that come at random, whether or not earlier ones are answered, from so many clients."""

    rate_hz: float
    clients: int = 64


@dataclass(frozen=True)
class Patience:
    """What a client does when a server does not answer."""

    timeout_s: float = 1.0
    fallback_s: float = 0.0  # what the local engine takes


DIRECT, PATIENCE = Network(), Patience()


@dataclass(frozen=True)
class Death:
    """A server that ends: connections are cut at once, or it only falls silent."""

    at_s: float
    server: int = 0
    silent: bool = False


@dataclass(frozen=True)
class Farm:
    """All of it."""

    server: ServerSpec
    load: Closed | Open
    servers: int = 1
    network: Network = DIRECT
    patience: Patience = PATIENCE
    rows: int = 1
    death: Death | None = None
    clocks: Sequence[Clock] = field(default_factory=lambda: (SteadyClock(),))  # of the servers, in turn
