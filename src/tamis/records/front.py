"""The record of a front: cheaper models of one parent, what each loses and what it costs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tamis._base import Document, Host


class LostFigure(Document):
    """A measured quantity with its interval at 95 %, and the parent's own where it has one."""

    value: float
    low: float
    high: float
    parent: float | None = None


class ModelCost(Document):
    """What one event costs in a model."""

    operations: int = Field(description="without products by zero weights")
    ebops: int | None = Field(default=None, description="only of fixed point")
    weight_bytes: int
    lut: float | None = Field(default=None, description="estimate; only of fixed point")
    lut_source: str | None = None
    cycles: int | None = Field(default=None, description="latency of unrolled hardware at 240 MHz, estimate")
    event_ns: dict[str, float] = Field(
        default_factory=dict, description="median time of an event by engine, one event at a time"
    )


class FrontPoint(Document):
    """One model of the front."""

    bundle: str = Field(description="its folder, relative to the record")
    checksum: str = Field(description="SHA-256 of its graph")
    source: str = Field(description="the epoch or the size that it is")
    met: bool = Field(description="whether it fulfils the target")
    figures: dict[str, LostFigure]
    cost: ModelCost


class FrontRecord(Document):
    """Models from dear to cheap; none is both worse and dearer than another on the rows that they were chosen by."""

    kind: Literal["front"] = "front"
    created: str
    host: Host
    parent: str
    parent_checksum: str
    parent_cost: ModelCost
    quantity: str = Field(description="what the front loses")
    target: str | None = None
    rows: int = Field(description="that the figures are from; they were used for nothing else")
    points: tuple[FrontPoint, ...]
    options: dict[str, int | float | str | bool | None]
