"""Agreement of an engine with the float64 reference: errors, matching fractions and decision flips."""

from __future__ import annotations

from pydantic import Field

from tamis._base import Document


class OutputAgreement(Document):
    """One output of one engine compared with the reference, element by element."""

    output: str
    values: int = Field(description="number of elements compared")
    largest_absolute: float
    largest_relative: float
    matching: dict[str, float] = Field(
        description="fraction of values within 0.01, 0.1, 1 and 5 % of the reference"
    )
    out_of_tolerance: int


class Flips(Document):
    """Decisions that differ from the reference's at one working point."""

    working_point: str
    threshold: float
    decisions: int
    flips: int
    low: float = Field(description="lower end of the 95 % Wilson interval of the flip probability")
    high: float = Field(description="upper end of the same interval")


class Agreement(Document):
    """The result of `verify` for one engine."""

    bundle: str
    engine: str
    version: str
    events: int
    passed: bool
    problem: str = ""
    outputs: tuple[OutputAgreement, ...] = ()
    flips: tuple[Flips, ...] = ()
