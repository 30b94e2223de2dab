"""The menu as a document: what the trigger reads, computes, decides by, and keeps."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, StringConstraints, model_validator

from tamis._base import Document
from tamis.engines import DEFAULT_ENGINE

_UNITS_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ns|us|ms|s)")

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


def duration_ns(value: object) -> int:
    """Return nanoseconds of a time as people write it, such as 100ms."""
    found = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        raise ValueError("a time needs its unit: 50us, 100ms, 2s")
    if not float(found[1]):
        raise ValueError("a time has to be more than nothing")
    return round(float(found[1]) * _UNITS_NS[found[2]])


def told_ns(value: int) -> str:
    """Return nanoseconds as people write them."""
    for unit in ("s", "ms", "us"):
        if value % _UNITS_NS[unit] == 0:
            return f"{value // _UNITS_NS[unit]}{unit}"
    return f"{value}ns"


Duration = Annotated[
    int,
    BeforeValidator(duration_ns, json_schema_input_type=str),
    PlainSerializer(told_ns, return_type=str),
]


class Source(Document):
    """What the events have to be: the tree that holds them, and columns with their types, checked before the first event."""

    tree: str | None = Field(None, description="Name of the tree; found by itself in NanoAOD and PHYSLITE.")
    columns: dict[str, str] = Field(
        default_factory=dict, description="Columns that have to be there, and their types: `var * float32`."
    )


class StageSpec(Document):
    """One step of computation: exactly one of `define`, `keep`, `bundle`, `python`."""

    define: dict[Name, str] | None = Field(None, description="New columns, each by an expression.")
    keep: str | None = Field(None, description="A selection by name: an expression that is true or false.")
    bundle: str | None = Field(None, description="A model: path of a bundle, or the name of a shipped one.")
    python: str | None = Field(None, description="A function with @stage: `module:name` or `file.py:name`.")
    engine: str = Field(DEFAULT_ENGINE, description="What runs the bundle.")
    batch: int | None = Field(None, ge=1, description="Rows per call of the engine; chosen if left out.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [kind for kind in ("define", "keep", "bundle", "python") if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(f"a stage is one of define, keep, bundle, python; this one is {kinds or 'none'}")
        if self.bundle is None and (self.engine != DEFAULT_ENGINE or self.batch is not None):
            raise ValueError("engine and batch are for stages with a bundle")
        return self


class PathSpec(Document):
    """A line of thought that ends in a decision: steps in their order, each a stage or a selection."""

    steps: tuple[str, ...] = Field(min_length=1, description="Names of stages, and expressions.")
    prescale: int = Field(1, ge=1, description="One event in so many is looked at.")
    budget: Duration | None = Field(None, description="Time that an event may take on this path: 50ms.")


class StreamSpec(Document):
    """Where the events go that any of its paths accepts."""

    paths: tuple[Name, ...] = Field(min_length=1)
    keep: Literal["all"] | tuple[str, ...] = Field("all", description="`all`, or globs of columns.")
    format: Literal["root", "parquet"] = "root"


class HistogramSpec(Document):
    """A histogram of a column or expression, filled for every event in which its columns are there."""

    of: str
    bins: int = Field(50, ge=1, le=10_000)
    low: float
    high: float

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low {self.low} has to be below high {self.high}")
        return self


class Menu(Document):
    """A trigger menu."""

    menu: str = Field(description="Its name.")
    version: int = 1
    budget: Duration | None = Field(None, description="Time that an event may take in all: 100ms.")
    micro_batch: int | None = Field(
        None,
        ge=1,
        le=65_536,
        description="Events that are decided together; chosen by what models read if left out.",
    )
    source: Source = Field(default_factory=lambda: Source(tree=None))
    thresholds: dict[Name, float] = Field(default_factory=dict, description="Numbers with a name.")
    stages: dict[Name, StageSpec] = Field(default_factory=dict)
    paths: dict[Name, PathSpec] = Field(min_length=1)
    streams: dict[Name, StreamSpec] = Field(default_factory=dict)
    histograms: dict[Name, HistogramSpec] = Field(default_factory=dict)


def menu_schema() -> dict[str, Any]:
    """Return the JSON Schema of a menu: editors complete and check with it."""
    schema = Menu.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "tamis menu", **schema}
