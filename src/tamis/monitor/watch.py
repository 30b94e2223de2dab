"""Watch files: which columns of a stream are watched, in which regions, and under which conditions."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from tamis._base import Document, UsageError, parse_document

STEP_S = 1.0


class WatchedQuantity(Document):
    """A quantity whose mean and width are watched: a column of values, or three columns of sums."""

    region: str
    name: str
    values: str | None = Field(default=None, description="column of numbers, or of lists of numbers")
    sums: tuple[str, str, str] | None = Field(default=None, description="columns with the number of values, their sum and the sum of their squares, as integers in units of `resolution`"
    )  # fmt: skip
    resolution: float = Field(
        gt=0, description="values are summed up as integers in this unit, which is exact in any order"
    )

    @model_validator(mode="after")
    def _one_source(self) -> WatchedQuantity:
        if (self.values is None) == (self.sums is None):
            raise ValueError(f"the quantity {self.region} {self.name} needs either `values` or `sums`")
        return self


class WatchedCount(Document):
    """A number that is small in every event unless there is a burst: the largest one of a step is watched."""

    region: str
    name: str
    column: str
    most: str | None = Field(
        default=None, description="column with the largest number of a step, if rows are steps"
    )


class Watch(Document):
    """What is watched of a stream."""

    name: str
    second: str | None = Field(
        default=None,
        description="column with the seconds since the begin of the block; default: events in groups by their number",
    )
    events: str | None = Field(
        default=None, description="column with the number of events in a row; default: one"
    )
    condition: str = Field(
        default="pileup", description="column on which the quantities depend, such as the pile-up"
    )
    luminosity: str | None = Field(default=None, description="column by which blocks are weighted")
    mode: str | None = Field(default=None, description="column with the number of the beam mode; 0: no beam")
    quantities: list[WatchedQuantity]
    counts: list[WatchedCount] = Field(default=[])

    @property
    def regions(self) -> list[str]:
        """Return the regions, in their order."""
        named = [one.region for one in self.quantities] + [one.region for one in self.counts]
        return list(dict.fromkeys(named))


def read_watch(path: Path) -> Watch:
    """Read a watch file."""
    if not path.is_file():
        raise UsageError(f"there is no watch file {path}")
    return parse_document(path.read_text(encoding="utf-8"), Watch, str(path))


class ListedMonitor(Document):
    """One of several monitors."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="of its journal, a folder")
    stream: str = Field(
        description="folder of the stream, relative to the file, or tcp://HOST:PORT to listen at"
    )
    model: str = Field(description="bundle of the monitor, relative to the file")


class MonitorList(Document):
    """Several monitors, which watch at the same time."""

    monitors: list[ListedMonitor] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> MonitorList:
        names = [one.name for one in self.monitors]
        if len(set(names)) < len(names):
            raise ValueError(f"two monitors have the same name: {', '.join(sorted(names))}")
        return self


def read_monitor_list(path: Path) -> MonitorList:
    """Read a list of monitors; its paths become absolute."""
    if not path.is_file():
        raise UsageError(f"there is no list of monitors {path}")
    found = parse_document(path.read_text(encoding="utf-8"), MonitorList, str(path))
    folder = path.resolve().parent
    monitors = [
        one.model_copy(
            update={
                "stream": one.stream if one.stream.startswith("tcp://") else str(folder / one.stream),
                "model": str(folder / one.model),
            }
        )
        for one in found.monitors
    ]
    return found.model_copy(update={"monitors": monitors})


def lar_watch() -> Watch:
    """Return the watch of `tamis simulate lar-stream`."""
    regions = ("EMBC", "EMBA", "EMECC", "EMECA")
    quantities = [
        WatchedQuantity(
            region=region, name=name, sums=(f"{region}_n", f"{region}_{name}", f"{region}_{name}2"), resolution=unit
        )
        for region in regions
        for name, unit in (("Q", 1 / 65535), ("tau", 0.01))
    ]  # fmt: skip
    counts = [
        WatchedCount(region=region, name="hot", column=f"{region}_hot", most=f"{region}_most")
        for region in regions
    ]
    return Watch(
        name="lar", second="second", events="events", luminosity="luminosity", mode="beamMode", quantities=quantities, counts=counts
    )  # fmt: skip
