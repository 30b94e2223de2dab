"""The record of a monitor on a simulated stream: false alarms on good blocks, and what it found of each kind of fault."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tamis._base import Document, Host


class KindFound(Document):
    """What was found of one kind of fault; explanations are those of bad blocks with no other fault."""

    fault: str
    defect: str
    blocks: int = Field(description="with this fault alone")
    found: int = Field(description="of these, bad")
    region: int = Field(description="of the found ones, with the right region")
    quantity: int = Field(description="with the right quantity")
    named: int = Field(description="with the defect among the first two")
    faults: int
    faults_found: int = Field(description="in any of their blocks")
    median_delay_blocks: float | None


class MonitorEvaluation(Document):
    """A monitor on a stream whose faults are known."""

    kind: Literal["monitor-evaluation"] = "monitor-evaluation"
    created: str
    host: Host
    bundle: str
    stream: str
    mode: str
    seed: int
    blocks: int
    unscored: int
    good_blocks: int = Field(description="without a fault, and judged")
    false_alarms: int = Field(description="of these, bad")
    false_upper: float = Field(description="one-sided bound on their share, at 95 % (Wilson)")
    false_by_luminosity: list[int] = Field(
        description="in tenths of the good blocks, from low to high luminosity"
    )
    kinds: list[KindFound]


class ComparedMonitor(Document):
    """One of several monitors on the same stream."""

    name: str = Field(description="`random` is a score that knows nothing")
    recall: float = Field(description="share of the blocks with faults, at the rate of false alarms")
    vus_pr: float


class PairedDifference(Document):
    """How much better one monitor is than another on the same blocks; intervals are of 95 %."""

    monitor: str
    against: str
    recall: float
    recall_interval: tuple[float, float]
    vus_pr: float
    vus_pr_interval: tuple[float, float]


class MonitorComparison(Document):
    """Several monitors on a stream whose faults are known."""

    kind: Literal["monitor-comparison"] = "monitor-comparison"
    created: str
    host: Host
    stream: str
    mode: str
    seed: int
    blocks: int = Field(description="judged by all of them")
    faulty: int
    prevalence: float
    false_rate: float = Field(description="per good block, at which each one's recall is taken")
    margin_blocks: int = Field(description="largest margin of VUS-PR")
    monitors: list[ComparedMonitor]
    differences: list[PairedDifference]


class DefectInterval(Document):
    """Blocks one after the other with the same defect."""

    run: int
    first_block: int
    last_block: int
    defect: str
    region: str
    quantity: str
    direction: str
    seconds: int


class FillTrend(Document):
    """The blocks of one run, in the order of time."""

    run: int
    blocks: list[int]
    states: list[str]
    scores: list[float] = Field(description="over their limit; 0 for blocks without one")
    luminosity: list[float]


class FillRecord(Document):
    """What became of the blocks of a stream that was monitored."""

    kind: Literal["monitor-fill"] = "monitor-fill"
    created: str
    host: Host
    name: str
    blocks: int
    states: dict[str, int]
    luminosity: dict[str, float] = Field(
        description="share of it that is certified, or lost by a defect or state"
    )
    defects: list[DefectInterval]
    alarms: int
    late: int = Field(description="parts that came after the verdict on their block, or twice")
    notes: int
    trends: list[FillTrend]
