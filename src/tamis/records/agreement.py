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
    largest_relative_at: float | None = Field(
        default=None, description="absolute value of the reference where the relative error is largest"
    )
    absolute_tolerance: float | None = Field(default=None, description="absolute part of the tolerance")
    relative_tolerance: float | None = Field(default=None, description="relative part of the tolerance")

    @property
    def is_tiny(self) -> bool:
        """Return whether the largest relative error is that of a value so small that the absolute tolerance decides."""
        value, absolute, relative = self.largest_relative_at, self.absolute_tolerance, self.relative_tolerance
        if value is None or absolute is None or relative is None or not self.largest_relative:
            return False
        return value * relative < absolute


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
