"""What was put into a simulated stream: its blocks and faults."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tamis._base import Document

TRUTH_FILE = "truth.json"  # beside the files of a stream


class TrueFault(Document):
    """One fault."""

    fault: str
    defect: str = Field(description="the name that a shifter enters")
    regions: list[str]
    quantities: list[str] = Field(description="that move: n, Q, tau")
    strength: float
    begin_s: float = Field(description="since the begin of the stream")
    end_s: float
    run: int
    first_block: int
    last_block: int


class TrueBlock(Document):
    """One luminosity block."""

    run: int
    block: int
    begin_s: float
    seconds: int
    luminosity: float = Field(description="per cm2 and s")


class StreamTruth(Document):
    """A simulated stream."""

    kind: Literal["stream-truth"] = "stream-truth"
    mode: str
    seed: int
    hours: float
    detail: str
    fault_set: str
    blocks: list[TrueBlock]
    faults: list[TrueFault]
