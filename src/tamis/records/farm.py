"""Sizing of a farm of inference servers."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from tamis._base import Document, Host

LATENCY_PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


class Latency(Document):
    """The distribution of request latencies, in microseconds."""

    mean_us: float
    p50_us: float
    p90_us: float
    p95_us: float
    p99_us: float
    p999_us: float

    @classmethod
    def of(cls, seconds: np.ndarray) -> Latency:
        """Summarise latencies in seconds."""
        p50, p90, p95, p99, p999 = 1e6 * np.percentile(seconds, LATENCY_PERCENTILES)
        mean = 1e6 * float(seconds.mean())
        return cls(mean_us=mean, p50_us=p50, p90_us=p90, p95_us=p95, p99_us=p99, p999_us=p999)


class Assumptions(Document):
    """Inputs that no measurement provides; replace the defaults with the values of your site."""

    server_cost: float = Field(default=100.0, description="per server: as measured, a process on one core")
    server_power_w: float = 5.0
    client_cost: float = Field(default=100.0, description="per core that runs a client")
    client_power_w: float = 5.0
    client_ms: float = Field(default=100.0, description="time per event that a client computes by itself")
    years: float = 4.0
    travel_ms: float = Field(default=0.2, description="one-way network delay between client and server")
    gbit_per_s: float = Field(default=10.0, description="bandwidth of the link to each server")


class RatePoint(Document):
    """One server at one rate."""

    rate_hz: float
    answered_hz: float
    latency: Latency
    wait_us: float
    compute_us: float
    transport_us: float
    utilisation: float
    rows_per_batch: float


class DelayStudy(Document):
    """The effect of one batching delay: latency against rate, and the rate at which p99 reaches the target."""

    delay_ms: float
    rate_hz: float | None = Field(description="per server; None: p99 is above the target at any rate")
    points: tuple[RatePoint, ...]


class KneePoint(Document):
    """Time per event for a number of clients on one server: by the formula, and simulated."""

    clients: int
    formula_s: float
    fixed_s: float = Field(description="simulated; all clients work equally long between requests")
    random_s: float = Field(description="simulated; the clients' own work is exponentially distributed")
    shared_s: float | None = Field(default=None, description="as fixed_s, but all clients share one link")


class Knee(Document):
    """The number of clients at which a server saturates, and the curve around it."""

    cpu_s: float
    moved: float
    server_s: float
    latency_s: float
    knee: float
    gain: float
    points: tuple[KneePoint, ...]


class DeathEffect(Document):
    """The effect of the death of one server."""

    simulated_servers: int
    silent: bool
    p99_before_us: float
    p99_around_us: float = Field(description="of all requests of the simulation; the death is in the middle")
    p99_after_us: float = Field(description="once the others have taken over")
    asked_again: int = Field(description="requests that were retried")
    fell_back: int = Field(description="requests computed by the client itself")
    lost: int
    requests: int


class FarmCosts(Document):
    """Cost and power of the farm, or of the same events without servers."""

    servers: int
    client_cores: int
    cost: float
    cost_per_million_events: float
    power_w: float
    joules_per_event: float


class FarmRecord(Document):
    """The size of a farm for a rate and a p99 target."""

    kind: Literal["farm"] = "farm"
    created: str
    host: Host
    measured_on: Host
    measured: tuple[str, ...] = Field(description="creation times of the load records used for calibration")
    server: str
    model: str
    rows: int = Field(description="per request")
    service_ms: dict[int, float] = Field(description="time of a batch by its number of rows")
    loop_us: float = Field(description="time of the server's event loop per request")
    flight_us: float = Field(description="median time of a request outside the server")
    rows_most: int
    capacity_hz: float
    rate_hz: float
    p99_ms: float
    seed: int
    assumptions: Assumptions
    delays: tuple[DelayStudy, ...]
    delay_ms: float
    servers: int
    servers_with_spare: int = Field(
        description="number of servers at which p99 holds after one of them has died"
    )
    at_work: RatePoint
    deaths: tuple[DeathEffect, ...]
    farm: FarmCosts
    in_process: FarmCosts = Field(description="the same model on the clients' own cores")
    knee: Knee


class PublishedRecord(Document):
    """The published ProtoDUNE study, reproduced."""

    kind: Literal["farm-published"] = "farm-published"
    created: str
    host: Host
    published_clients: int
    readings: dict[str, float] = Field(
        description="the knee for each interpretation of the published latency and p"
    )
    shared_line_knee: float
    seed: int
    knee: Knee
