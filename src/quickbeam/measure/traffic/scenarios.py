"""How requests come: MLPerf's scenarios, and a number of clients that ask again as soon as they are answered."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from quickbeam._base import Document


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


def poisson_arrivals_ns(rate_hz: float, seconds: float, seed: int) -> np.ndarray:
    """Return when requests come, in nanoseconds from the beginning."""
    rng = np.random.default_rng(seed)
    expected = rate_hz * seconds
    gaps = rng.exponential(1e9 / rate_hz, int(expected + 10 * expected**0.5 + 50))
    times = np.cumsum(gaps)
    return times[times < seconds * 1e9].astype(np.int64)
