"""The papers of a run: what was planned, what became of each unit of work, and the whole in the end."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from tamis._base import Document, Host
from tamis.engines import Remote
from tamis.trigger.run.times import TimeSum

# what a plan says of servers, in the order in which a Remote has it
SERVERS = ("servers", "fallback", "server_timeout_s", "server_ca", "client_certificate", "client_key")

Mode = Literal["batch", "event"]
FINER = 4  # so many units where one would be, at the end of a run


class InputFile(Document):
    """A file to read; `problem` where it cannot even be opened, so that nobody knows what is in it."""

    url: str
    entries: int = 0
    bytes: int | None = None
    problem: str | None = None
    clusters: tuple[int, ...] = ()  # entries at which units should begin, where the file tells

    def ranges(self, size: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of about so many entries: from cluster to cluster, or of exactly that size where there are none."""
        edges = (*self.clusters, self.entries) if self.clusters else ()
        start = 0
        while start < self.entries:
            stop = start + size
            place = bisect_right(edges, stop)
            if place and edges[place - 1] > start:
                stop = edges[place - 1]
            elif place < len(edges) and edges[place] <= start + 2 * size:
                stop = edges[place]
            yield start, min(stop, self.entries)
            start = stop


class Plan(Document):
    """What a run does, fixed before the first event; a resumed run does the same."""

    tamis: str
    menu: str  # the text
    place: str
    folder: str
    mode: Mode
    tree: str | None
    unit_events: int
    files: tuple[InputFile, ...]
    fine_events: int = 0  # so many events at the end come in smaller units, that workers end together
    servers: tuple[str, ...] = ()  # where models run that do not run here
    fallback: str | None = None  # the engine that stands in for them
    server_timeout_s: float = 1.0
    server_ca: str | None = None  # files of PEM for TLS; a token is written nowhere
    client_certificate: str | None = None
    client_key: str | None = None

    @property
    def remote(self) -> Remote | None:
        """Return where models run that do not run here."""
        if not self.servers:
            return None
        return Remote(
            self.servers,
            self.fallback,
            self.server_timeout_s,
            ca=self.server_ca,
            certificate=self.client_certificate,
            key=self.client_key,
        )

    def units(self) -> Iterator[Unit]:
        """Yield the units of work, in order."""
        number, left = 0, sum(file.entries for file in self.files)
        for index, file in enumerate(self.files):
            for start, stop in file.ranges(self.unit_events):
                size = stop - start if left > self.fine_events else -(-(stop - start) // FINER)
                left -= stop - start
                for first in range(start, stop, size):
                    yield Unit(number=number, file=index, start=first, stop=min(stop, first + size))
                    number += 1


class Unit(Document):
    """A range of entries of one file: what is decided and committed as a whole."""

    number: int
    file: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        return f"{self.number:07d}"


class Unreadable(Document):
    """Entries that were booked, since they could not be read."""

    file: str
    start: int
    stop: int
    reason: str


class Counts(Document):
    """Events by door. Every event that entered is in exactly one of accepted, rejected, debug, unreadable."""

    entered: int = 0
    accepted: int = 0
    rejected: int = 0
    debug: int = 0
    unreadable: int = 0
    paths: dict[str, int] = Field(default_factory=dict)
    streams: dict[str, int] = Field(default_factory=dict)
    reasons: dict[str, int] = Field(default_factory=dict)

    @property
    def balanced(self) -> bool:
        """Tell whether every event left through one door."""
        return self.entered == self.accepted + self.rejected + self.debug + self.unreadable

    def plus(self, other: Counts) -> Counts:
        """Return the sum of both."""
        mine, theirs = self.model_dump(), other.model_dump()
        return Counts.model_validate(
            {
                name: _added(value, theirs[name]) if isinstance(value, dict) else value + theirs[name]
                for name, value in mine.items()
            }
        )


def _added(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}


class UnitResult(Document):
    """What became of a unit."""

    unit: Unit
    counts: Counts
    unreadable: tuple[Unreadable, ...] = ()
    times: dict[str, TimeSum] = Field(default_factory=dict)
    histograms: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    made_up: tuple[str, ...] = ()
    sizes: dict[str, int] = Field(default_factory=dict)  # of the files beside it


class PartNotes(Document):
    """What is to be known of a unit's part of a stream beside its columns."""

    added: tuple[str, ...] = ()  # the columns that stages made
    alone: tuple[str, ...] = ()  # the lists that differ in length from others of their collection
    left_out: tuple[str, ...] = ()  # the columns of the input that the format cannot hold


class HistogramSum(Document):
    """A filled histogram; below the first edge and above the last count too."""

    low: float
    high: float
    below: int
    counts: tuple[int, ...]
    above: int


class RunSummary(Document):
    """The whole of a run."""

    kind: Literal["run"] = "run"
    tamis: str
    menu: str
    mode: Mode
    created: str
    host: Host
    versions: dict[str, str]
    models: dict[str, dict[str, str]]
    workers: int
    wall_ns: int
    counts: Counts
    files: tuple[InputFile, ...]
    unreadable: tuple[Unreadable, ...]
    times: dict[str, TimeSum]
    kinds: dict[str, str]
    histograms: dict[str, HistogramSum] = Field(default_factory=dict)
    outputs: dict[str, str] = Field(default_factory=dict)
    made_up: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
