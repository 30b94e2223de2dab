"""The record of `load`: how requests arrived, their latencies, and where the server says the time went."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from tamis._base import Document, Host


class Scenario(StrEnum):
    """How requests are sent, and from when latency counts."""

    SINGLE_STREAM = "single-stream"
    """One request after another. Latency: from sending to response."""
    MULTI_STREAM = "multi-stream"
    """`streams` requests at once, the next ones when all are answered. Latency: from sending the first to the last response."""
    SERVER = "server"
    """Open loop: requests arrive at random (Poisson), `rate_hz` per second, whether or not earlier ones are answered.
    Latency: from the scheduled time, so that a stalled server cannot hide its delay by holding back later requests."""
    OFFLINE = "offline"
    """`streams` requests in flight all the time, as many as the server takes. The figure of merit is the throughput."""
    CLOSED = "closed"
    """`streams` clients; each sends its next request when the last one is answered, or after working on its own for a
    random time (`think_s` on average, exponential). Latency: from the end of that work to the response."""


class Traffic(Document):
    """One load: how requests arrive, and for how long."""

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
            raise ValueError("the scenario server needs rate_hz; the other scenarios do not take it")
        if self.think_s and self.scenario is not Scenario.CLOSED:
            raise ValueError("only clients of the scenario closed think between requests; leave think_s at 0")
        return self


class BatchTime(Document):
    """Executions of one batch size, with their mean time; stacking inputs and splitting outputs are included."""

    rows: int
    executions: int
    mean_us: float


class Batches(Document):
    """How the server batches a model, by its own configuration."""

    rows_most: int = 0
    merged_rows_most: int = Field(default=0, description="most rows of merged requests; 0: rows_most")
    preferred: tuple[int, ...] = ()
    delay_us: float | None = Field(
        default=None, description="how long the first request may wait; None: no dynamic batching"
    )
    instances: int = 1


class ServerTime(Document):
    """The server's own counters, mean per request: queue, stacking inputs, model, splitting outputs."""

    requests: int
    executions: int
    queue_us: float
    input_us: float
    infer_us: float
    output_us: float
    batches: tuple[BatchTime, ...] = ()

    @property
    def compute_us(self) -> float:
        """Return the mean time per request after the queue."""
        return self.input_us + self.infer_us + self.output_us

    @property
    def whole_us(self) -> float:
        """Return the mean time per request in the server."""
        return self.queue_us + self.compute_us


class LoadPoint(Document):
    """The result of one load."""

    traffic: Traffic
    requests: int
    rows: Annotated[int, Field(description="per request")]
    requests_per_s: float
    mean_us: float
    p50_us: float
    p90_us: float
    p95_us: float
    p99_us: float
    p999_us: float
    most_us: float
    late_us: float = Field(
        description="99th percentile of the delay between the scheduled and the actual time of sending"
    )
    errors: dict[str, int]
    unanswered: int
    server: ServerTime | None = None
    transport_us: float | None = Field(default=None, description="mean latency minus the time in the server")
    request_bytes: int = 0
    thirds_per_s: tuple[float, ...] = Field(
        default=(), description="requests per second in each third of the counted time"
    )
    thirds_p50_us: tuple[float, ...] = ()
    trace: str = Field(
        default="",
        description="the first requests in the order of completion, each as DUE+LATENCY in us since the start",
    )

    @property
    def failed(self) -> int:
        """Return the number of requests with an error or without a response."""
        return sum(self.errors.values()) + self.unanswered

    @property
    def events_per_execution(self) -> float | None:
        """Return the mean number of rows per execution in the server, where it reports executions."""
        server = self.server
        return server.requests * self.rows / server.executions if server and server.executions else None

    @property
    def swings(self) -> float:
        """Return the largest relative deviation of a third of the time from the mean, in throughput or median latency.

        A settled load is usually below 0.1.
        """
        deviations = [0.0]
        for thirds in (self.thirds_per_s, self.thirds_p50_us):
            mean = float(np.mean(thirds)) if thirds else 0.0
            deviations += [abs(third / mean - 1.0) for third in thirds if mean]
        return max(deviations)

    def traced_us(self) -> np.ndarray:
        """Return (due time, latency) in microseconds of the first requests, shape (requests, 2)."""
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
        description="other models that were called in turn with this one; rates and streams are of all models together",
    )
    batching: Batches | None = None
    points: tuple[LoadPoint, ...]
