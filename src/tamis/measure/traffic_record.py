"""The record of a load: how requests came, what became of them, and where the server says that the time went."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from tamis._base import Document, Host


class Scenario(StrEnum):
    """What is measured, exactly."""

    SINGLE_STREAM = "single-stream"
    """One request after the other. Latency: from sending to answer."""
    MULTI_STREAM = "multi-stream"
    """`streams` requests at once, the next ones when all are answered. Latency: from sending the first to the last answer."""
    SERVER = "server"
    """Open loop: requests come at random (Poisson), `rate` of them per second, whether or not earlier ones are answered.
    Latency: from the time that was scheduled, so that a late answer delays nobody else and hides nothing."""
    OFFLINE = "offline"
    """As many requests in flight as the server takes (`streams`). What counts is the throughput."""
    CLOSED = "closed"
    """`streams` clients, each of which asks again when it is answered, or works on its own for a random time first
    (`think_s` on average, exponential). Latency: from the time at which that work ended to the answer."""


class Traffic(Document):
    """One load: how requests come, and for how long."""

    scenario: Scenario
    rate_hz: Annotated[float, Field(gt=0)] | None = None
    streams: Annotated[int, Field(ge=1, le=10_000)] = 1
    think_s: Annotated[float, Field(ge=0)] = 0.0
    seconds: Annotated[float, Field(gt=0)] = 10.0
    warm_up_s: Annotated[float, Field(ge=0)] = 1.0
    timeout_s: Annotated[float, Field(gt=0)] = 10.0
    seed: int = 1

    @model_validator(mode="after")
    def _is_sound(self) -> Traffic:
        if (self.scenario is Scenario.SERVER) != (self.rate_hz is not None):
            raise ValueError("a rate goes with the scenario server, and with no other")
        if self.think_s and self.scenario is not Scenario.CLOSED:
            raise ValueError("only clients of the scenario closed work on their own between requests")
        return self


class BatchTime(Document):
    """Executions of one batch size: how many, and how long each took on average, with laying together and cutting."""

    rows: int
    executions: int
    mean_us: float


class Batches(Document):
    """How the server says that it batches a model."""

    rows_most: int = 0
    merged_rows_most: int = Field(default=0, description="rows of several requests together; 0: rows_most")
    preferred: tuple[int, ...] = ()
    delay_us: float | None = Field(
        default=None, description="how long the first may wait; None: no dynamic batching"
    )
    instances: int = 1


class ServerTime(Document):
    """What the server says of its requests, on average: waiting, laying inputs together, the model, cutting outputs."""

    requests: int
    executions: int
    queue_us: float
    input_us: float
    infer_us: float
    output_us: float
    batches: tuple[BatchTime, ...] = ()

    @property
    def whole_us(self) -> float:
        """Return the time in the server."""
        return self.queue_us + self.input_us + self.infer_us + self.output_us


class LoadPoint(Document):
    """One load, and what became of it."""

    traffic: Traffic
    requests: int
    rows: Annotated[int, Field(description="of each request")]
    requests_per_s: float
    mean_us: float
    p50_us: float
    p90_us: float
    p95_us: float
    p99_us: float
    p999_us: float
    most_us: float
    late_us: float = Field(
        description="how much later than scheduled a request was sent, at the 99th percentile"
    )
    errors: dict[str, int]
    unanswered: int
    server: ServerTime | None = None
    transport_us: float | None = Field(default=None, description="mean latency less the time in the server")
    request_bytes: int = 0
    thirds_per_s: tuple[float, ...] = Field(
        default=(), description="requests per second in each third of the time that counts"
    )
    thirds_p50_us: tuple[float, ...] = ()
    trace: str = Field(
        default="",
        description="the first requests in the order of their ends, each as DUE+LATENCY in us from the beginning",
    )

    @property
    def swings(self) -> float:
        """Return how far a third of the time was from the mean of all three, in throughput or latency; 0.1 is usual as the most."""
        found = [0.0]
        for thirds in (self.thirds_per_s, self.thirds_p50_us):
            mean = float(np.mean(thirds)) if thirds else 0.0
            found += [abs(one / mean - 1.0) for one in thirds if mean]
        return max(found)

    def traced_us(self) -> np.ndarray:
        """Return when the first requests were due and how long they took, a row each."""
        pairs = [pair.split("+") for pair in self.trace.split()]
        return np.array(pairs, np.float64).reshape(-1, 2)


class TrafficRecord(Document):
    """Loads on one model of one server."""

    kind: Literal["traffic"] = "traffic"
    created: str
    host: Host
    server: str
    server_version: str
    model: str
    platform: str
    together: tuple[str, ...] = Field(
        default=(),
        description="other models that were asked in turn with this one: rates and streams are of all of them",
    )
    batching: Batches | None = None
    points: tuple[LoadPoint, ...]
