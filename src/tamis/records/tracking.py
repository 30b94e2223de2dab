"""The record of a track reconstruction: times of the stages, and the physics where the truth is known."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tamis._base import Document, Host


class StageTime(Document):
    """The time that one stage takes for an event."""

    stage: str
    mean_ms: float
    p50_ms: float
    p99_ms: float


class Fraction(Document):
    """A fraction with its interval at 95 %."""

    passed: int
    total: int
    value: float
    low: float
    high: float


class Residual(Document):
    """How far a parameter is from that of the particle: half the width that holds 68 %."""

    parameter: str
    unit: str
    width: float
    median: float
    pull_width: float = Field(description="of the residuals over their errors")
    pull_median: float


class TrackingPhysics(Document):
    """Tracks against the particles of the simulation."""

    particles: str = Field(description="which particles ought to be found")
    efficiency: Fraction
    fakes: Fraction = Field(description="tracks that no particle has")
    duplicates: Fraction = Field(description="tracks whose particle has another one")
    residuals: list[Residual]


class BrokenEvent(Document):
    """An event that could not be reconstructed."""

    event: int
    reason: str


class TrackingRecord(Document):
    """The reconstruction of a file."""

    kind: Literal["tracking"] = "tracking"
    created: str
    host: Host
    source: str
    detector: str
    events: int = Field(description="that were reconstructed")
    broken: list[BrokenEvent]
    tracks: int
    cells_per_event: float
    stages: list[StageTime]
    together: StageTime
    physics: TrackingPhysics | None = None
    workers: int = Field(1, description="processes that reconstructed events")
    seconds: float | None = Field(
        None,
        description="of wall time from the first event on, with reading and writing, without the start of the processes",
    )
    events_per_second: float | None = Field(None, description="of wall time")
