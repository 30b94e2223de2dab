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
