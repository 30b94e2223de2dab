"""Columns as plain arrays: what a trigger works on, where an awkward array would cost more than the decision.

A column holds one value per event (an array) or a list per event (`Jagged`). A `Frame` is some rows of such
columns; a row is taken from a column when it is asked for, so that a stage pays for what it reads and no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import awkward as ak
import numpy as np

from tamis._base import DataError, MissingColumnError, did_you_mean
from tamis.events.batch import IDENTITY, Events, missing


class Jagged:
    """A list of values per event: those of event i are `values[offsets[i]:offsets[i + 1]]`. Never changed once made."""

    __slots__ = ("_flat", "offsets", "values")

    def __init__(self, offsets: np.ndarray, values: np.ndarray, flat: np.ndarray | None = None) -> None:
        """Keep both; `flat` where the caller has it."""
        self.offsets, self.values, self._flat = offsets, values, flat

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> np.ndarray:
        """Return how many values each event has."""
        offsets = self.offsets
        counted: np.ndarray = offsets[1:] - offsets[:-1]
        return counted

    @property
    def flat(self) -> np.ndarray:
        """Return the values of all events, one after the other."""
        if self._flat is None:
            self._flat = self.values[self.offsets[0] : self.offsets[-1]]
        return self._flat

    def matches(self, other: Jagged) -> bool:
        """Tell whether each event has as many values in both."""
        if self.offsets is other.offsets:
            return True
        if len(self.flat) != len(other.flat) or len(self.offsets) != len(other.offsets):
            return False
        return len(self.offsets) == 2 or bool((self.counts == other.counts).all())

    def row(self, event: int) -> Jagged:
        """Return one event's list."""
        offsets = self.offsets[event : event + 2]
        start, stop = offsets.tolist()
        return Jagged(offsets, self.values, self.values[start:stop])

    def take(self, rows: np.ndarray) -> Jagged:
        """Return the lists of some events."""
        starts, counts = self.offsets[rows], self.counts[rows]
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(counts, out=offsets[1:])
        index = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts)
        return Jagged(offsets, self.values[index])


ColumnData = np.ndarray | Jagged


class Frame:
    """Some events' columns: all of `parent`, a range of it, or chosen rows of it."""

    __slots__ = ("_cut", "_parent", "_rows", "_size", "_spans")

    def __init__(
        self, parent: Mapping[str, ColumnData], size: int, rows: slice | np.ndarray | None = None
    ) -> None:
        """Remember where the rows are; `size` is how many."""
        self._parent, self._size, self._rows = parent, size, rows
        self._cut: dict[str, ColumnData] = {}
        self._spans: dict[
            int, tuple[np.ndarray, int, int]
        ] = {}  # of one event, by the offsets that columns share

    def __len__(self) -> int:
        """Return the number of events."""
        return self._size

    def __contains__(self, name: object) -> bool:
        """Tell whether a column is there."""
        return name in self._cut or name in self._parent

    def __getitem__(self, name: str) -> ColumnData:
        """Return these rows of a column, or name the near misses."""
        found = self._cut.get(name)
        if found is None:
            found = self._column(name)
            if self._rows is not None:
                if self._size == 1 and type(found) is Jagged and type(self._rows) is slice:
                    found = self._cut[name] = self._list(found)
                else:
                    found = self._cut[name] = _cut(found, self._rows)
        return found

    def _list(self, column: Jagged) -> Jagged:
        """Return the list of the one event; columns of a collection share where it begins and ends."""
        span = self._spans.get(id(column.offsets))
        if span is None:
            start = self._rows.start  # type: ignore[union-attr] # a slice, as was just seen
            offsets = column.offsets[start : start + 2]
            first, last = offsets.tolist()
            span = self._spans[id(column.offsets)] = (offsets, first, last)
        return Jagged(span[0], column.values, column.values[span[1] : span[2]])

    def _column(self, name: str) -> ColumnData:
        try:
            return self._parent[name]
        except KeyError:
            hint = did_you_mean(name, [*self._parent, *self._cut])
            raise MissingColumnError(f"the events have no column {name!r}; {hint}".rstrip("; ")) from None

    def named(self, row: int) -> str:
        """Return run:block:event of a row, for messages."""
        return ":".join(str(np.asarray(self[name])[row]) for name in IDENTITY)

    def with_columns(self, added: Mapping[str, ColumnData]) -> Frame:
        """Return the same events with columns added, one entry per event of this frame."""
        if not added:
            return self
        frame = Frame(self._parent, self._size, self._rows)
        frame._cut = {**self._cut, **added}
        return frame

    def add_all(self, columns: Mapping[str, ColumnData]) -> None:
        """Add columns to this frame alone, one entry per event of it."""
        self._cut.update(columns)

    def drop(self, names: Iterable[str]) -> None:
        """Let go of columns that were added."""
        for name in names:
            self._cut.pop(name, None)

    def added(self, name: str) -> ColumnData | None:
        """Return a column that was added or cut, or None."""
        return self._cut.get(name)

    def rows(self, start: int, stop: int) -> Frame:
        """Return a range of the events of a whole frame."""
        return Frame(self._parent, stop - start, slice(start, stop))

    def take(self, rows: np.ndarray) -> Frame:
        """Return chosen events of a whole frame."""
        return Frame(self._parent, len(rows), rows)


def _cut(column: ColumnData, rows: slice | np.ndarray) -> ColumnData:
    if isinstance(column, np.ndarray):
        return column[rows]
    if isinstance(rows, slice):
        return Jagged(column.offsets[rows.start : rows.stop + 1], column.values)
    return column.take(rows)


def columns_of(events: Events, names: Iterable[str] | None = None) -> dict[str, ColumnData]:
    """Return the columns of a batch as plain arrays, without a copy where awkward has them packed."""
    found = {}
    for name in events.array.fields if names is None else names:
        try:
            found[name] = plain_column(name, events[name])
        except DataError:
            _check_complete(events, name)
            raise
    return found


def _check_complete(events: Events, name: str) -> None:
    """Refuse a column in which a list or a number is missing, and name the first event without one."""
    column = events[name]
    rows = missing(column)
    if not len(rows) and column.ndim > 1:
        rows = np.flatnonzero(ak.to_numpy(ak.any(ak.is_none(column, axis=1), axis=1)))
    if len(rows):
        event = ":".join(map(str, events.identity[rows[0]])) if name not in IDENTITY else f"{rows[0]}"
        raise DataError(
            f"{name} has no value in event {event} ({len(rows)} such events in this batch): "
            "fill the values in, or leave the events out"
        )


def plain_column(name: str, column: ak.Array) -> ColumnData:
    """Return an awkward column as plain arrays, or say why a trigger cannot read it."""
    layout = column.layout
    text = layout.parameter("__array__") in ("string", "bytestring")
    if layout.is_list and not layout.is_regular and not text and layout.purelist_depth == 2:
        packed = layout.to_ListOffsetArray64(True).to_packed()
        if packed.content.is_unknown:  # lists that are all empty
            return Jagged(packed.offsets.data, np.empty(0, np.float32))
        if packed.content.is_numpy:
            return Jagged(packed.offsets.data, packed.content.data)
    try:
        found = np.asarray(ak.to_numpy(column, allow_missing=False))
    except (ValueError, TypeError):
        found = np.empty(0, object)
    if found.dtype.kind not in "biuf":
        raise DataError(
            f"a trigger cannot read the column {name!r} of type {column.type.content}: it takes numbers and lists of numbers"
        )
    return found
