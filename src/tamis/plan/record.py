"""What a study of a farm found."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tamis._base import Document, Host
from tamis.plan.outcome import Latency


class Assumptions(Document):
    """What no measurement tells: stated, and to be replaced by whoever knows better."""

    server_cost: float = Field(default=100.0, description="of one server: as measured, a process on one core")
    server_power_w: float = 5.0
    client_cost: float = Field(default=100.0, description="of one core that runs a client")
    client_power_w: float = 5.0
    client_ms: float = Field(default=100.0, description="what a client computes for an event by itself")
    years: float = 4.0
    travel_ms: float = Field(default=0.2, description="one way between client and server")
    gbit_per_s: float = Field(default=10.0, description="of the line to each server")


class Point(Document):
    """One server at one rate."""

    rate_hz: float
    answered_hz: float
    latency: Latency
    wait_us: float
    compute_us: float
    transport_us: float
    utilisation: float
    rows_per_batch: float


class Delay(Document):
    """What a batching delay gives: latency against rate, and the rate at which p99 is what was asked for."""

    delay_ms: float
    rate_hz: float | None = Field(description="of one server; None: p99 is above the target at any rate")
    points: tuple[Point, ...]


class KneePoint(Document):
    """Time per event with so many clients on one server: by the formula, and simulated."""

    clients: int
    formula_s: float
    fixed_s: float = Field(description="simulated; all clients work equally long between requests")
    random_s: float = Field(description="simulated; they work for a random time, exponential")
    shared_s: float | None = Field(default=None, description="as fixed_s, but clients share one line")


class Knee(Document):
    """Where a server is full."""

    cpu_s: float
    moved: float
    server_s: float
    latency_s: float
    knee: float
    gain: float
    points: tuple[KneePoint, ...]


class Afterwards(Document):
    """When one server dies."""

    simulated_servers: int
    silent: bool
    p99_before_us: float
    p99_around_us: float = Field(description="of all requests of the simulation, the death in their middle")
    p99_after_us: float = Field(description="when the others have taken over for good")
    asked_again: int
    fell_back: int
    lost: int
    requests: int


class Costs(Document):
    """Of the farm, or of the same events without servers."""

    servers: int
    client_cores: int
    cost: float
    cost_per_million_events: float
    power_w: float
    joules_per_event: float


class FarmRecord(Document):
    """A study of a farm."""

    kind: Literal["farm"] = "farm"
    created: str
    host: Host
    measured_on: Host
    measured: tuple[str, ...] = Field(description="when the loads were measured that calibrate it")
    server: str
    model: str
    rows: int = Field(description="of each request")
    service_ms: dict[int, float] = Field(description="of a batch, by its rows")
    loop_us: float
    flight_us: float = Field(description="median")
    rows_most: int
    capacity_hz: float
    rate_hz: float
    p99_ms: float
    seed: int
    assumptions: Assumptions
    delays: tuple[Delay, ...]
    delay_ms: float
    servers: int
    servers_with_spare: int = Field(description="so many that p99 holds when one of them has died")
    at_work: Point
    deaths: tuple[Afterwards, ...]
    farm: Costs
    in_process: Costs = Field(description="the same model on the clients' own cores")
    knee: Knee


class PublishedRecord(Document):
    """The published chain, redone."""

    kind: Literal["farm-published"] = "farm-published"
    created: str
    host: Host
    published_clients: int
    readings: dict[str, float] = Field(description="the knee by what is taken for latency and for p")
    shared_line_knee: float
    seed: int
    knee: Knee
