"""Which stages of the track reconstruction run on the CPU and which on a GPU, and what that brings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tamis._base import Document, Host
from tamis.records.farm import Latency
from tamis.records.tracking import StageBoundary


class PlacedStage(Document):
    """A stage, or stages that stay together, with its time per event on each device."""

    name: str
    stages: list[str]
    cpu_ms: float
    cpu_spread: float = Field(description="ln(p99 / p50) / 2.33 of the CPU time: sigma of a log-normal one")
    gpu_ms: float | None = Field(description="None: not known, the stage stays on the CPU")
    gpu_source: str = Field(description="where the GPU time comes from, empty if there is none")


class PlacementLink(Document):
    """The link between CPU and GPU."""

    name: str
    gb_per_s: float = Field(description="10^9 bytes per second and direction")
    copy_us: float = Field(description="fixed time of each copy")
    source: str


class Placement(Document):
    """One assignment of the stages to CPU and GPU; times per event."""

    stages: str = Field(description="one letter per stage, C or G: 'C C G G C C'")
    cpu_ms: float
    gpu_ms: float
    link_ms: float = Field(description="of all copies, in both directions")
    copies: int
    to_gpu_bytes: float
    to_cpu_bytes: float
    events_per_second: float
    latency_ms: float = Field(description="of an event that never waits")
    bottleneck: Literal["cores", "GPUs", "links"]
    on_front: bool = Field(
        description="whether no other placement has both a higher throughput and a lower latency"
    )


class ScalingPoint(Document):
    """Throughput with some number of cores or GPUs."""

    count: int
    events_per_second: float = Field(description="of the placement")
    best_events_per_second: float = Field(description="of the best placement for this number")
    best: str = Field(description="the stages of that placement")


class PlacementKnee(Document):
    """Where the throughput of a placement stops growing with the number of cores or GPUs."""

    of: Literal["cores", "GPUs"]
    count: int | None = Field(
        description="the least number from which one more brings less than 5 % of what the first one brings; None: each brings as much"
    )
    events_per_second: float | None = Field(description="at the knee")
    points: list[ScalingPoint]


class Purchase(Document):
    """Cores and GPUs that reach a rate."""

    stages: str
    cores: int
    gpus: int
    cost: float | None
    events_per_second: float = Field(description="at full load")
    latency_ms: float


class SimulatedPlacement(Document):
    """A discrete-event simulation of a placement: its throughput when saturated, its latency under load."""

    stages: str
    formula_events_per_second: float
    saturated_events_per_second: float
    offered_events_per_second: float = Field(description="random arrivals")
    latency: Latency
    cores_busy: float = Field(description="fraction of the time, under load; so are the next two")
    gpus_busy: float
    links_busy: float


class MeasuredPlacement(Document):
    """A measured run with all stages on the CPU against the prediction."""

    source: str
    workers: int
    outside_ms: float = Field(
        description="CPU time per event and worker outside the stages: reading, matching, writing, waiting"
    )
    predicted_events_per_second: float
    measured_events_per_second: float = Field(description="of wall time, with reading and writing")


class PlacementStudy(Document):
    """All placements for events of one size."""

    name: str = Field(description="file of the sample")
    pile_up: float | None
    cells_per_event: float
    events: int
    measured: list[str] = Field(description="creation times of the records of the reconstruction")
    stages: list[PlacedStage]
    boundaries: list[StageBoundary]
    placements: list[Placement] = Field(description="in order of throughput, then of latency")
    knees: list[PlacementKnee] = Field(description="of the first placement")
    purchases: list[Purchase] = Field(
        description="for the wanted rate, the cheapest first; each with fewer cores or fewer GPUs than any other"
    )
    simulated: list[SimulatedPlacement]
    runs: list[MeasuredPlacement]


class PlacementRecord(Document):
    """Placements of the stages of the track reconstruction on CPU and GPU."""

    kind: Literal["placement"] = "placement"
    created: str
    host: Host
    measured_on: Host = Field(description="the host of the CPU times")
    detector: str
    cores: int
    gpus: int = Field(description="each has a link of its own")
    link: PlacementLink
    host_ms: float = Field(description="CPU time per event besides the stages, added to every placement")
    load: float = Field(description="fraction of the capacity that a farm is bought and simulated for")
    rate_hz: float | None
    core_price: float | None
    gpu_price: float | None
    seed: int
    notes: list[str] = Field(description="what the reader has to know about the numbers")
    studies: list[PlacementStudy] = Field(description="by size of the events")
