"""Random access to the events of an open file, with unreadable ranges reported instead of raised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import TracebackType
from typing import Self

import numpy as np

from tamis._base import DataError, MissingColumnError
from tamis.events.batch import IDENTITY, Column, Events
from tamis.events.identity import SPELLINGS, Identity
from tamis.events.reading import Aliases, open_table, read_checked
from tamis.events.table import choose

READS_MOST = 256  # attempts to find the readable part of a broken range
COLUMNS_NAMED = 3  # in the reason why a range is broken


@dataclass(frozen=True)
class BrokenRange:
    """Events that cannot be read, and why."""

    start: int
    stop: int
    reason: str


@dataclass(frozen=True)
class Intact:
    """The readable events of a range, the entry of each in its file, and the ranges that are broken."""

    events: Events | None
    entries: np.ndarray
    broken: tuple[BrokenRange, ...] = ()


class EventFile:
    """An open file of events."""

    def __init__(
        self, url: str, tree: str | None = None, index: int = 0, aliases: Aliases | None = None
    ) -> None:
        """Open the file; `index` is its number, from which the identity of events without one is generated."""
        self.url, self.index = url, index
        self._table = open_table(url, tree, aliases)
        self.entries = self._table.entries
        spelled = (name for names in SPELLINGS.values() for name in names)
        plain = self._table.plain_type
        self._identity = Identity.of({name: kind for name in spelled if (kind := plain(name))})

    def type_of(self, name: str) -> str | None:
        """Return the type of a column, or None if the file lacks it; cheaper than listing all columns."""
        return self._table.type_of(name)

    def collection_of(self, name: str) -> str | None:
        """Return what counts the elements of a list, if the file records it: lists of one collection have equal lengths."""
        return self._table.collection_of(name)

    @property
    def columns(self) -> Mapping[str, str]:
        """Return the readable columns and their types, the identity always included."""
        types = dict(zip(IDENTITY, ("uint32", "uint32", "uint64"), strict=True))
        return {**types, **self._table.columns}

    @property
    def opaque(self) -> Mapping[str, str]:
        """Return the columns that cannot be read, with the reason."""
        return self._table.opaque

    def why_missing(self, name: str) -> str:
        """Return the end of a sentence on a missing column: why the format lacks it, or similar names."""
        return self._table.why_missing(name)

    @property
    def schema(self) -> tuple[Column, ...]:
        """Return the columns stored in the file, without reading any event."""
        return tuple(Column(name, kind) for name, kind in self._table.columns.items())

    @property
    def synthesised(self) -> tuple[str, ...]:
        """Return the parts of the identity that the file lacks and that are generated."""
        return self._identity.synthesised

    def choose(self, names: Sequence[str]) -> list[str]:
        """Return the columns that match names and globs, without the identity; raises with close matches."""
        plain = [name for name in names if name not in IDENTITY]
        if all(self.type_of(name) for name in plain):  # the common case: no globs
            return plain
        return [name for name in choose(self._table, plain, ()) if name not in IDENTITY]

    def bytes_per_event(self, names: Sequence[str]) -> float:
        """Return an estimate of the bytes per event that columns take."""
        return self._table.bytes_per_event(list(dict.fromkeys([*self._identity.reads, *names])))

    def read(self, names: Sequence[str], start: int, stop: int) -> Events:
        """Read a whole range, or raise."""
        columns = list(dict.fromkeys([*self._identity.reads, *names]))
        data = read_checked(self._table, columns, start, stop) if columns else {}
        self._identity.check(data, start, self.url)
        filled = self._identity.fill(data, start, stop, self.index)
        return Events.of({**filled, **{name: data[name] for name in names if name not in IDENTITY}})

    def read_intact(self, names: Sequence[str], start: int, stop: int) -> Intact:
        """Read all events of a range that can be read, and report the others instead of raising."""
        try:
            return Intact(self.read(names, start, stop), np.arange(start, stop))
        except MissingColumnError:
            raise
        except DataError:
            columns = list(dict.fromkeys([*self._identity.reads, *names]))
        # reading all columns of a NanoAOD file takes long: search for the broken entries in the broken columns alone
        unreadable = self._unreadable_columns(columns, start, stop)
        suspects = unreadable or list(self._identity.reads)
        cuts = [cut for cut in self._table.seams(suspects) if start < cut < stop]
        intact, broken = _readable_ranges(lambda a, b: self.read(suspects, a, b), [start, *cuts, stop])
        batches, entries = [], []
        for first, last in intact:
            try:
                batches.append(self.read(names, first, last))
                entries.append(np.arange(first, last))
            except DataError as error:
                broken.append(BrokenRange(first, last, str(error)))
        if unreadable:
            columns_named = ", ".join(unreadable[:COLUMNS_NAMED]) + (
                ", ..." if len(unreadable) > COLUMNS_NAMED else ""
            )
            broken = [replace(b, reason=f"{columns_named}: {b.reason}") for b in broken]
        broken.sort(key=lambda b: b.start)
        if not batches:
            return Intact(None, np.empty(0, np.int64), tuple(broken))
        return Intact(Events.concatenate(batches), np.concatenate(entries), tuple(broken))

    def _unreadable_columns(self, columns: Sequence[str], start: int, stop: int) -> list[str]:
        """Return the columns that cannot be read over a whole range, by bisection."""
        pending, unreadable = [list(columns)], []
        while pending:
            some = pending.pop()
            try:
                read_checked(self._table, some, start, stop)
            except DataError:
                half = len(some) // 2
                if half:
                    pending += [some[half:], some[:half]]
                else:
                    unreadable += some
        return unreadable

    def clusters(self, names: Sequence[str]) -> Sequence[int]:
        """Return the entries at which a basket or row group of every column begins, if the format records them.

        A range between two of them is read without decoding its neighbours.
        """
        return self._table.clusters([*self._identity.reads, *names])

    def close(self) -> None:
        """Close the file."""
        self._table.close()

    def __enter__(self) -> Self:
        """Return the file itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()


def _readable_ranges(
    read: Callable[[int, int], object], edges: Sequence[int]
) -> tuple[list[tuple[int, int]], list[BrokenRange]]:
    """Return the ranges between edges that `read` accepts, and the broken ones, by bisection with a limit on the attempts."""
    pending = list(pairwise(edges))[::-1]
    intact: list[tuple[int, int]] = []
    broken: list[BrokenRange] = []
    attempts = max(READS_MOST, 2 * len(pending))
    while pending:
        start, stop = pending.pop()
        attempts -= 1
        try:
            read(start, stop)
        except DataError as error:
            if stop - start > 1 and attempts > len(pending):
                middle = (start + stop) // 2
                pending += [(middle, stop), (start, middle)]
            elif broken and broken[-1].stop == start:  # the first reason represents all
                broken[-1] = replace(broken[-1], stop=stop)
            else:
                broken.append(BrokenRange(start, stop, str(error)))
        else:
            if intact and intact[-1][1] == start:
                start = intact.pop()[0]
            intact.append((start, stop))
    return intact, broken
