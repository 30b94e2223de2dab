"""The schema of a menu: sources, stages, paths, streams and histograms."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    StringConstraints,
    field_validator,
    model_validator,
)

from tamis._base import Document, UsageError
from tamis.engines import DEFAULT_ENGINE

_UNITS_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_FREQUENCY_UNITS_HZ = {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9}
_FREQUENCY_WITH_UNIT = re.compile(r"(\d+(?:\.\d+)?)\s*(Hz|kHz|MHz|GHz)")
_TIME_WITH_UNIT = re.compile(r"(\d+(?:\.\d+)?)\s*(ns|us|ms|s)")

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


def duration_ns(value: object) -> int:
    """Parse a time such as 100ms; returns nanoseconds."""
    found = _TIME_WITH_UNIT.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        raise ValueError("a time needs its unit: 50us, 100ms, 2s")
    if not float(found[1]):
        raise ValueError("a time must be greater than zero")
    return round(float(found[1]) * _UNITS_NS[found[2]])


def format_ns(value: int) -> str:
    """Format nanoseconds, such as 100ms or 12.5us."""
    for unit in ("s", "ms", "us"):
        text = f"{value / _UNITS_NS[unit]:g}{unit}"
        if value >= _UNITS_NS[unit] and duration_ns(text) == value:
            return text
    return f"{value}ns"


Duration = Annotated[
    int,
    BeforeValidator(duration_ns, json_schema_input_type=str),
    PlainSerializer(format_ns, return_type=str),
]


def frequency_hz(value: object) -> float:
    """Parse a frequency such as 240MHz; returns Hz."""
    found = _FREQUENCY_WITH_UNIT.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found or not float(found[1]):
        raise ValueError("a frequency is a number above zero with its unit: 240MHz, 40MHz")
    return float(found[1]) * _FREQUENCY_UNITS_HZ[found[2]]


Frequency = Annotated[
    float,
    BeforeValidator(frequency_hz, json_schema_input_type=str),
    PlainSerializer(lambda value: f"{value / 1e6:g}MHz", return_type=str),
]


class Hardware(Document):
    """Makes a menu one of a Level-1 trigger: models run in firmware, and the budget is about their fixed latency."""

    clock: Frequency = Field(240e6, description="Clock of the firmware, such as 240MHz.")
    crossings: Frequency = Field(
        40e6, description="Rate of bunch crossings, each of which enters the firmware."
    )
    other: Duration | None = Field(
        None,
        description="Time of everything that is not a model: detector readout, links, cuts, the final decision; it counts for the budget.",
    )

    @model_validator(mode="after")
    def _is_fast_enough(self) -> Self:
        if self.clock < self.crossings:
            raise ValueError(
                f"the clock of {self.clock / 1e6:g} MHz is below the {self.crossings / 1e6:g} MHz of the crossings"
            )
        return self


class Source(Document):
    """The expected input: its tree, and columns with their types, checked before the first event."""

    tree: str | None = Field(
        None, description="Name of the tree; by default Events, events or CollectionTree, or the only one."
    )
    aliases: dict[str, str] = Field(
        default_factory=dict,
        description="Names for columns of the files, or for functions of them: `MET_pt: PuppiMET_pt`, `Jet_pt: Jets.pt * 0.001`.",
    )
    columns: dict[str, str] = Field(
        default_factory=dict, description="Required columns and their types, such as `var * float32`."
    )

    @field_validator("aliases")
    @classmethod
    def _are_aliases(cls, aliases: dict[str, str]) -> dict[str, str]:
        from tamis.events import check_aliases

        try:
            check_aliases(aliases)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return aliases


class TrackingSpec(Document):
    """How tracks are reconstructed from cells, and the names of their columns; files are found beside the menu."""

    geometry: str | None = Field(
        None, description="`detectors.csv` of ACTS or TrackML; by default the generic detector."
    )
    digitisation: str | None = Field(
        None,
        description="JSON file of ACTS' geometric digitisation, which divides the modules of `geometry` into cells.",
    )
    field: float = Field(2.0, gt=0, description="Magnetic field along the beam in tesla, for `geometry`.")
    field_map: str | None = Field(
        None,
        description="Map of the solenoid instead of `field`: columns r, z, Br, Bz in mm and tesla, as `tamis solenoid` writes them.",
    )
    pt_min: float | None = Field(
        None,
        gt=0,
        description="Least transverse momentum in GeV; a higher one saves time. By default tracks are seeded above 0.5 GeV.",
    )
    seeds_from: Literal["pixels", "strips", "all"] | None = Field(
        None,
        description="What tracks begin with: `pixels`, pairs of `strips`, or `all`. By default pixels where the detector has some, else strips.",
    )
    branches: int = Field(
        1,
        ge=1,
        le=16,
        description="Ways that are followed for each seed where several hits of a module fit; the best is kept. More find a little more, and take longer.",
    )
    collection: Name = Field(
        "Track", description="Name of the collection of the tracks: `Track_pt`, `Track_eta`."
    )
    lengths: Literal["mm", "cm"] = Field(
        "mm", description="Unit of `d0`, `dz` and their errors; NanoAOD and the shipped models have cm."
    )
    candidates: Name | None = Field(
        None,
        description="Also add the tracks as charged pions to this collection, such as PFCands, by descending momentum, lengths in cm.",
    )

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.geometry is None and (self.digitisation is not None or "field" in self.model_fields_set):
            raise ValueError("digitisation and field are for another detector: name its geometry too")
        if self.field_map is not None and "field" in self.model_fields_set:
            raise ValueError("the field is that of field_map: leave out field")
        if self.candidates == self.collection:
            raise ValueError(f"tracks and candidates cannot both be called {self.collection}")
        return self


class StageSpec(Document):
    """One step of computation: exactly one of `define`, `keep`, `bundle`, `python`, `tracking`."""

    define: dict[Name, str] | None = Field(None, description="New columns, each by an expression.")
    keep: str | None = Field(None, description="A named selection: a boolean expression.")
    bundle: str | None = Field(None, description="A model: path of a bundle, or the name of a shipped one.")
    python: str | None = Field(None, description="A function with @stage: `module:name` or `file.py:name`.")
    tracking: Literal["default"] | TrackingSpec | None = Field(
        None,
        description="Tracks from the cells of a silicon detector: `default`, or a detector and cuts of your own.",
    )
    engine: str = Field(DEFAULT_ENGINE, description="The engine that runs the bundle.")
    batch: int | None = Field(
        None, ge=1, description="Rows per call of the engine; chosen automatically by default."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        names = ("define", "keep", "bundle", "python", "tracking")
        kinds = [kind for kind in names if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(
                f"a stage must have exactly one of {', '.join(names)}; this one has {kinds or 'none'}"
            )
        if self.bundle is None and (self.engine != DEFAULT_ENGINE or self.batch is not None):
            raise ValueError("engine and batch are for stages with a bundle")
        return self


class PathSpec(Document):
    """A trigger path: stages and selections in order, which end in a decision."""

    steps: tuple[str, ...] = Field(
        min_length=1, description="Names of stages, and expressions that select events."
    )
    prescale: int = Field(1, ge=1, description="The path examines one event in this many.")
    budget: Duration | None = Field(None, description="Time budget of an event on this path, such as 50ms.")
    description: str = Field("", description="What the path keeps, in words; for people who read reports.")


class StreamSpec(Document):
    """An output of the events that at least one of its paths accepts."""

    paths: tuple[Name, ...] = Field(min_length=1, description="Paths whose accepted events it takes.")
    keep: Literal["all"] | tuple[str, ...] = Field(
        "all", description="`all`, or names and globs of input columns; those of stages are always kept."
    )
    format: Literal["root", "parquet"] = Field("root", description="Format of the file.")
    compression: Literal["lz4", "zstd", "zlib", "lzma"] | None = Field(
        None,
        description="By default lz4 for ROOT (fast, with checksums) and zstd for Parquet; zlib and lzma only for ROOT.",
    )

    @model_validator(mode="after")
    def _can_compress(self) -> Self:
        if self.format == "parquet" and self.compression in ("zlib", "lzma"):
            raise ValueError(f"Parquet files are compressed by zstd or lz4, not {self.compression}")
        return self


class HistogramSpec(Document):
    """A histogram of a column or expression, filled for every event that has its columns."""

    of: str = Field(description="A column or an expression; lists fill one entry per element.")
    bins: int = Field(50, ge=1, le=10_000, description="Number of bins of equal width.")
    low: float = Field(description="Lower edge of the first bin.")
    high: float = Field(description="Upper edge of the last bin.")
    title: str = Field("", description="Title of the axis with its unit, such as HT [GeV].")

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        return self


class Menu(Document):
    """A trigger menu."""

    menu: str = Field(description="Name of the menu.")
    version: int = Field(1, description="Version of the menu, written into every stream.")
    budget: Duration | None = Field(None, description="Total time budget of an event, such as 100ms.")
    hardware: Hardware | None = Field(
        default=None,
        description="For a Level-1 trigger: the clock of its firmware, whose bits `tamis run` emulates.",
    )
    micro_batch: int | None = Field(
        None,
        ge=1,
        le=65_536,
        description="Events that are decided together; by default chosen by the size of the models' inputs.",
    )
    source: Source = Field(
        default_factory=lambda: Source(tree=None), description="What the input files must contain."
    )
    thresholds: dict[Name, float] = Field(default_factory=dict, description="Named numbers for expressions.")
    stages: dict[Name, StageSpec] = Field(default_factory=dict, description="Computations by name.")
    paths: dict[Name, PathSpec] = Field(
        min_length=1, description="Trigger paths by name; an event is accepted if any accepts it."
    )
    streams: dict[Name, StreamSpec] = Field(default_factory=dict, description="Outputs by name.")
    histograms: dict[Name, HistogramSpec] = Field(default_factory=dict, description="Histograms by name.")


def menu_schema() -> dict[str, Any]:
    """Return the JSON Schema of a menu, with which editors complete and check it."""
    schema = Menu.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "tamis menu", **schema}
