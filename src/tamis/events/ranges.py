"""Any range of events of an open file: what a trigger reads, piece by piece; what cannot be read is told by ranges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Self

import numpy as np

from tamis._base import DataError, MissingColumnError
from tamis.events.batch import IDENTITY, Column, Events
from tamis.events.identity import SPELLINGS, Identity
from tamis.events.opening import open_table
from tamis.events.reading import read_checked
from tamis.events.table import choose

READS_MOST = 256  # attempts to find out what of a broken range can be read


@dataclass(frozen=True)
class BrokenRange:
    """Events that cannot be read, and why."""

    start: int
    stop: int
    reason: str


@dataclass(frozen=True)
class Intact:
    """What could be read of a range: the events, and the entry of each in its file."""

    events: Events | None
    entries: np.ndarray
    broken: tuple[BrokenRange, ...] = ()


class EventFile:
    """An open file of events."""

    def __init__(self, url: str, tree: str | None = None, index: int = 0) -> None:
        """Open it; `index` numbers the file, for events whose identity has to be made up."""
        self.url, self.index = url, index
        self._table = open_table(url, tree)
        self.entries = self._table.entries
        spelled = (name for names in SPELLINGS.values() for name in names)
        self._identity = Identity.of({name: kind for name in spelled if (kind := self.type_of(name))})

    def type_of(self, name: str) -> str | None:
        """Return the type of a column, or None where it is not there; cheaper than a look at all of them."""
        direct = getattr(self._table, "type_of", None)
        found: str | None = (
            direct(name) if direct else self._table.columns.get(name) or self._table.hidden.get(name)
        )
        return found

    @property
    def columns(self) -> Mapping[str, str]:
        """Return what can be read, with its types; identity is always there."""
        types = dict(zip(IDENTITY, ("uint32", "uint32", "uint64"), strict=True))
        return {**types, **self._table.columns}

    @property
    def schema(self) -> tuple[Column, ...]:
        """Return the columns as they are in the file, without reading an event."""
        return tuple(Column(name, kind) for name, kind in self._table.columns.items())

    @property
    def made_up(self) -> tuple[str, ...]:
        """Return the parts of the identity that the file lacks."""
        return self._identity.synthesised

    def choose(self, names: Sequence[str]) -> list[str]:
        """Return the columns that names and globs mean, without the identity, or name the near misses."""
        plain = [name for name in names if name not in IDENTITY]
        if all(self.type_of(name) for name in plain):  # as in most units: nothing to look up
            return plain
        return [name for name in choose(self._table, plain, ()) if name not in IDENTITY]

    def bytes_per_event(self, names: Sequence[str]) -> float:
        """Return a first guess of the bytes that columns take per event."""
        return self._table.bytes_per_event(list(dict.fromkeys([*self._identity.reads, *names])))

    def read(self, names: Sequence[str], start: int, stop: int) -> Events:
        """Read a range whole, or raise."""
        columns = list(dict.fromkeys([*self._identity.reads, *names]))
        data = read_checked(self._table, columns, start, stop) if columns else {}
        self._identity.check(data, start, self.url)
        filled = self._identity.fill(data, start, stop, self.index)
        return Events.of({**filled, **{name: data[name] for name in names if name not in IDENTITY}})

    def read_intact(self, names: Sequence[str], start: int, stop: int) -> Intact:
        """Read what can be read of a range."""
        try:
            return Intact(self.read(names, start, stop), np.arange(start, stop))
        except MissingColumnError:
            raise
        except DataError:
            cuts = [cut for cut in self._seams(names) if start < cut < stop]
        pieces, broken = _around(lambda a, b: self.read(names, a, b), [start, *cuts, stop])
        if not pieces:
            return Intact(None, np.empty(0, np.int64), tuple(broken))
        entries = np.concatenate([np.arange(a, b) for a, b, _ in pieces])
        return Intact(Events.concatenate([events for _, _, events in pieces]), entries, tuple(broken))

    def clusters(self, names: Sequence[str]) -> Sequence[int]:
        """Return the entries at which storage begins anew for all of the columns, where the format tells: a range that
        begins and ends there is read without a look at its neighbours.
        """
        clusters = getattr(self._table, "clusters", None)
        return clusters([*self._identity.reads, *names]) if clusters is not None else ()

    def _seams(self, names: Sequence[str]) -> Sequence[int]:
        """Return the entries at which a new piece of storage begins, where the format tells."""
        seams = getattr(self._table, "seams", None)
        return seams([*self._identity.reads, *names]) if seams is not None else ()

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


_Piece = tuple[int, int, Events]


def _around(
    read: Callable[[int, int], Events], edges: Sequence[int]
) -> tuple[list[_Piece], list[BrokenRange]]:
    """Read what is between edges, and halves of what fails, as long as the attempts last."""
    todo = [(a, b) for a, b in pairwise(edges)][::-1]
    pieces: list[_Piece] = []
    broken: list[BrokenRange] = []
    attempts = max(READS_MOST, 2 * len(todo))
    while todo:
        start, stop = todo.pop()
        attempts -= 1
        try:
            pieces.append((start, stop, read(start, stop)))
        except DataError as error:
            if stop - start > 1 and attempts > len(todo):
                middle = (start + stop) // 2
                todo += [(middle, stop), (start, middle)]
            else:
                broken.append(BrokenRange(start, stop, str(error)))
    return pieces, _joined(broken)


def _joined(broken: Sequence[BrokenRange]) -> list[BrokenRange]:
    """Join ranges that touch; the first one's reason stands for all."""
    joined: list[BrokenRange] = []
    for found in broken:
        if joined and joined[-1].stop == found.start:
            joined[-1] = BrokenRange(joined[-1].start, found.stop, joined[-1].reason)
        else:
            joined.append(found)
    return joined
