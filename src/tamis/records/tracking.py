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
    device: Literal["cpu", "gpu"] = "cpu"
    instructions_per_clock: float | None = Field(
        default=None, description="of one core, None where the host has no hardware counters"
    )


class StageBoundary(Document):
    """What one stage leaves for later ones: objects and bytes of an event, on average."""

    name: str
    written_by: str | None = Field(description="the stage, None for the input")
    read_by: list[str] = Field(description="the stages, none for the output")
    count: float = Field(description="objects per event")
    bytes: float = Field(description="of their arrays, per event")


class StageTransfer(Document):
    """Copies of arrays between devices, per event."""

    what: str
    to: Literal["cpu", "gpu"]
    count: float
    bytes: float
    mean_ms: float
    link_ms: float | None = Field(
        default=None, description="of the copies alone, by events of the GPU; None in the simulator"
    )


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


class TrackingCurve(Document):
    """A fraction of particles or tracks in bins of a variable, with intervals at 95 % (Wilson)."""

    quantity: Literal["efficiency", "fakes", "duplicates"]
    against: Literal["eta", "pt", "pile-up", "radius"] = Field(
        description="of particles for the efficiency, of tracks otherwise; the radius is that of the production"
    )
    unit: str
    edges: list[float] = Field(description="of the bins, one more than there are bins")
    bins: list[Fraction]


class ResidualBin(Document):
    """Residuals and pulls of one bin; errors are those of Gaussian residuals."""

    tracks: int
    width: float
    width_error: float
    median: float
    median_error: float
    pull_width: float
    pull_width_error: float
    pull_median: float
    pull_median_error: float


class ResidualCurve(Document):
    """Widths and medians of residuals and pulls of a parameter in bins of a variable of the particle."""

    parameter: str
    unit: str
    against: Literal["eta", "pt"]
    against_unit: str
    edges: list[float]
    bins: list[ResidualBin | None] = Field(description="None with too few tracks")


class ResidualHistogram(Document):
    """A histogram of the residuals or of the pulls of a parameter."""

    parameter: str
    unit: str = Field(description="empty for pulls")
    of: Literal["residual", "pull"]
    edges: list[float]
    counts: list[int]
    outside: int = Field(description="tracks below the first or above the last edge")


class TrackingPhysics(Document):
    """Tracks against the particles of the simulation."""

    particles: str = Field(description="which particles ought to be found")
    efficiency: Fraction
    fakes: Fraction = Field(description="tracks that no particle has")
    duplicates: Fraction = Field(description="tracks whose particle has another one")
    residuals: list[Residual]
    matched: int = Field(default=0, description="tracks that a particle has")
    sampled: int = Field(default=0, description="of these, a random sample whose residuals were kept")
    curves: list[TrackingCurve] = Field(default=[])
    residual_curves: list[ResidualCurve] = Field(default=[])
    histograms: list[ResidualHistogram] = Field(default=[])


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
    pile_up: float | None = Field(None, description="collisions per event, on average; None where unknown")
    simulated_gpu: bool = Field(
        False, description="whether the GPU was Numba's simulator, whose times are not those of a GPU"
    )
    stages: list[StageTime] = Field(description="each on every device that it ran on")
    together: StageTime
    boundaries: list[StageBoundary] = Field(
        default=[], description="between the stages, in the order in which they are written"
    )
    transfers: list[StageTransfer] = Field(default=[], description="copies between devices")
    counters: str = Field(
        default="", description="why there are no hardware counters, empty if they were read"
    )
    physics: TrackingPhysics | None = None
    workers: int = Field(1, description="processes that reconstructed events")
    at_once: int = Field(
        1, description="events on the GPU at the same time; the times of their stages then overlap"
    )
    seconds: float | None = Field(
        None,
        description="of wall time from the first event on, with reading and writing, without the start of the processes",
    )
    events_per_second: float | None = Field(None, description="of wall time")
