"""The record of a comparison of two files of tracks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tamis._base import Document


class QuantityAgreement(Document):
    """How well one number of the objects in both files agrees."""

    quantity: str
    compared: int
    matching: dict[str, float] = Field(
        description="fraction of pairs with |a - b| <= u (|a| + |b|) / 2, by u in percent"
    )
    largest: float | None = Field(description="absolute difference, None without pairs")


class StageComparison(Document):
    """The objects of one stage in two files."""

    stage: str
    paired_by: str
    both: int
    only_a: int
    only_b: int
    quantities: list[QuantityAgreement]


class TracksComparison(Document):
    """Two files of tracks, stage by stage."""

    kind: Literal["tracks-comparison"] = "tracks-comparison"
    created: str
    a: str
    b: str
    events: int = Field(description="in both files")
    only_a: int = Field(description="events")
    only_b: int = Field(description="events")
    stages: list[StageComparison]
    left_out: list[str] = Field(description="stages of which a file has no objects")
