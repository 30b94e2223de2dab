"""The documents of a run: its plan, the result of each unit of work, and the summary."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from pydantic import Field

from tamis._base import Document, Host
from tamis.engines import Remote
from tamis.trigger.run.times import TimeSum

# the fields of a plan that describe servers, in the order of the arguments of Remote
SERVERS = ("servers", "fallback", "server_timeout_s", "server_ca", "client_certificate", "client_key")

Mode = Literal["batch", "event"]
MESSAGES_KEPT = 20
FINER = 4  # units in the place of one, at the end of a run


class InputFile(Document):
    """An input file; `problem` is set if it cannot be opened, so that its content is unknown."""

    url: str
    entries: int = 0
    bytes: int | None = None
    problem: str | None = None
    clusters: tuple[int, ...] = ()  # entries at which units should begin, if the file records them

    def ranges(self, size: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of about `size` entries, from cluster to cluster; of exactly that size if there are no clusters."""
        edges = (*self.clusters, self.entries) if self.clusters else ()
        start = 0
        while start < self.entries:
            stop = start + size
            index = bisect_right(edges, stop)
            if index and edges[index - 1] > start:
                stop = edges[index - 1]
            elif index < len(edges) and edges[index] <= start + 2 * size:
                stop = edges[index]
            yield start, min(stop, self.entries)
            start = stop


class RunPlan(Document):
    """The plan of a run, fixed before the first event; a resumed run follows the same plan."""

    tamis: str
    menu: str  # the text
    place: str
    folder: str
    mode: Mode
    tree: str | None
    aliases: dict[str, str] = Field(default_factory=dict)
    lumi_mask: dict[str, tuple[tuple[int, int], ...]] | None = None  # run -> ranges of good luminosity blocks
    unit_events: int
    files: tuple[InputFile, ...]
    monitor: str | None = None  # folder that gets a row per event for `tamis monitor`
    fine_events: int = 0  # the last events, in smaller units so that workers finish together
    servers: tuple[str, ...] = ()  # addresses of servers that run models
    fallback: str | None = None  # the engine that replaces them if none answers
    server_timeout_s: float = 1.0
    server_ca: str | None = None  # PEM files for TLS; a token is never written
    client_certificate: str | None = None
    client_key: str | None = None

    @property
    def remote(self) -> Remote | None:
        """Return the servers that run models, or None."""
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

    def units(self) -> Iterator[RunUnit]:
        """Yield the units of work in order."""
        number, remaining = 0, sum(file.entries for file in self.files)
        for index, file in enumerate(self.files):
            for start, stop in file.ranges(self.unit_events):
                size = stop - start if remaining > self.fine_events else -(-(stop - start) // FINER)
                remaining -= stop - start
                for first in range(start, stop, size):
                    yield RunUnit(number=number, file=index, start=first, stop=min(stop, first + size))
                    number += 1


class RunUnit(Document):
    """A range of entries of one file that is decided and committed as a whole."""

    number: int
    file: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        return f"{self.number:07d}"


def most_frequent(messages: Mapping[str, int]) -> dict[str, int]:
    """Return the messages with the most events, at most MESSAGES_KEPT of them."""
    ranked = sorted(messages.items(), key=lambda item: (-item[1], item[0]))
    return dict(ranked[:MESSAGES_KEPT])


class Loss(NamedTuple):
    """A file, or a range of its entries, that a run lost, and why."""

    file: str
    start: int | None
    stop: int | None
    reason: str

    def __str__(self) -> str:
        """Return the loss as one line."""
        return (
            self.reason
            if self.start is None
            else f"entries {self.start} to {self.stop} of {self.file}: {self.reason}"
        )


class Unreadable(Document):
    """Entries that could not be read, and why."""

    file: str
    start: int
    stop: int
    reason: str


class Counts(Document):
    """Numbers of events; every event that entered is in exactly one of accepted, rejected, debug, unreadable, masked."""

    entered: int = 0
    accepted: int = 0
    rejected: int = 0
    debug: int = 0
    unreadable: int = 0
    masked: int = 0  # outside the luminosity mask
    paths: dict[str, int] = Field(default_factory=dict)
    streams: dict[str, int] = Field(default_factory=dict)
    reasons: dict[str, int] = Field(default_factory=dict)

    @property
    def balanced(self) -> bool:
        """Return whether every event that entered has exactly one outcome."""
        return self.entered == self.accepted + self.rejected + self.debug + self.unreadable + self.masked

    def plus(self, other: Counts) -> Counts:
        """Return the sum of both."""
        mine, theirs = self.model_dump(), other.model_dump()
        for name, value in theirs.items():
            if isinstance(value, dict):
                mine[name] = {
                    key: mine[name].get(key, 0) + value.get(key, 0) for key in {**mine[name], **value}
                }
            else:
                mine[name] += value
        return Counts.model_validate(mine)


class UnitResult(Document):
    """The result of a unit."""

    unit: RunUnit
    counts: Counts
    unreadable: tuple[Unreadable, ...] = ()
    times: dict[str, TimeSum] = Field(default_factory=dict)
    histograms: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    made_up: tuple[str, ...] = ()
    messages: dict[str, int] = Field(default_factory=dict)  # of events in debug: "step: message" -> events
    sizes: dict[str, int] = Field(default_factory=dict)  # bytes of the files of the unit


class PartNotes(Document):
    """Notes on the columns of a unit's part of a stream."""

    added: tuple[str, ...] = ()  # columns that stages added
    alone: tuple[str, ...] = ()  # lists whose lengths differ from others of their collection
    left_out: tuple[str, ...] = ()  # columns of the input that the format cannot hold


class HistogramSum(Document):
    """A filled histogram with its underflow (`below`) and overflow (`above`)."""

    low: float
    high: float
    below: int
    counts: tuple[int, ...]
    above: int
    title: str = ""  # of the axis


class RunSummary(Document):
    """The summary of a run."""

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
    side_trees: dict[str, int] = Field(
        default_factory=dict
    )  # rows of Runs and LuminosityBlocks, kept in every stream
    side_tree_problems: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    messages: dict[str, int] = Field(default_factory=dict)  # the most frequent ones of events in debug

    @property
    def losses(self) -> tuple[Loss, ...]:
        """Return the files that could not be opened, whose events are not counted, and the entries that could not be read."""
        files = [Loss(file.url, None, None, file.problem) for file in self.files if file.problem]
        return (
            *files,
            *(Loss(entry.file, entry.start, entry.stop, entry.reason) for entry in self.unreadable),
        )

    @property
    def outcomes(self) -> str:
        """Return the counts in one sentence."""
        counts, unopened = self.counts, sum(file.problem is not None for file in self.files)
        files = f"; {unopened} of {len(self.files)} files could not be opened" if unopened else ""
        masked = f", {counts.masked} outside the luminosity mask" if counts.masked else ""
        return (
            f"{counts.entered} events: {counts.accepted} accepted, {counts.rejected} rejected, {counts.debug} debug, "
            f"{counts.unreadable} unreadable{masked}{files}"
        )
