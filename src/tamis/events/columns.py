"""Columns as plain arrays, for a trigger, in which an awkward array would take longer than the decision.

A column has one value per event (an array) or a list per event (`Jagged`). A `Frame` is a selection of rows of such
columns, which are cut lazily, so that a stage pays only for the columns that it reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import awkward as ak
import numpy as np

from tamis._base import DataError, MissingColumnError, did_you_mean
from tamis.events.batch import IDENTITY, Events, rows_without_value


class Jagged:
    """A list of values per event: those of event i are `values[offsets[i]:offsets[i + 1]]`. Immutable."""

    __slots__ = ("_flat", "offsets", "values")

    def __init__(self, offsets: np.ndarray, values: np.ndarray, flat: np.ndarray | None = None) -> None:
        """Store offsets and values; `flat` is the used part of the values, if the caller has it."""
        self.offsets, self.values, self._flat = offsets, values, flat

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> np.ndarray:
        """Return the number of values of each event."""
        offsets = self.offsets
        counts: np.ndarray = offsets[1:] - offsets[:-1]
        return counts

    @property
    def flat(self) -> np.ndarray:
        """Return the values of all events, concatenated."""
        if self._flat is None:
            self._flat = self.values[self.offsets[0] : self.offsets[-1]]
        return self._flat

    def matches(self, other: Jagged) -> bool:
        """Return whether both columns have the same number of values in every event."""
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
        """Return the lists of selected events."""
        starts, counts = self.offsets[rows], self.counts[rows]
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(counts, out=offsets[1:])
        index = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts)
        return Jagged(offsets, self.values[index])


ColumnData = np.ndarray | Jagged


class Frame:
    """The columns of some events: all rows of `parent`, a range, or selected rows."""

    __slots__ = ("_cut", "_parent", "_rows", "_size", "_spans", "may_miss")

    def __init__(
        self,
        parent: Mapping[str, ColumnData],
        size: int,
        rows: slice | np.ndarray | None = None,
        may_miss: bool = False,
    ) -> None:
        """Refer to rows of `parent`; `size` is their number, `may_miss` whether any column may have missing values."""
        self._parent, self._size, self._rows = parent, size, rows
        self.may_miss = may_miss
        self._cut: dict[str, ColumnData] = {}
        # for a single event: id of the offsets, which the columns of a collection share -> its range
        self._spans: dict[int, tuple[np.ndarray, int, int]] = {}

    def __len__(self) -> int:
        """Return the number of events."""
        return self._size

    def __contains__(self, name: object) -> bool:
        """Return whether a column exists."""
        return name in self._cut or name in self._parent

    def __getitem__(self, name: str) -> ColumnData:
        """Return these rows of a column; raises with close matches if it is missing."""
        found = self._cut.get(name)
        if found is None:
            try:
                found = self._parent[name]
            except KeyError:
                hint = did_you_mean(name, [*self._parent, *self._cut])
                raise MissingColumnError(f"the events have no column {name!r}; {hint}".rstrip("; ")) from None
            if self._rows is not None:
                if self._size == 1 and type(found) is Jagged and type(self._rows) is slice:
                    found = self._cut[name] = self._list(found)
                else:
                    found = self._cut[name] = _cut(found, self._rows)
        return found

    def _list(self, column: Jagged) -> Jagged:
        """Return the list of the single event; columns of a collection share its range."""
        span = self._spans.get(id(column.offsets))
        if span is None:
            start = self._rows.start  # type: ignore[union-attr] # the caller has checked that it is a slice
            offsets = column.offsets[start : start + 2]
            first, last = offsets.tolist()
            span = self._spans[id(column.offsets)] = (offsets, first, last)
        return Jagged(span[0], column.values, column.values[span[1] : span[2]])

    def named(self, row: int) -> str:
        """Return run:luminosityBlock:event of a row, for messages."""
        return ":".join(str(np.asarray(self[name])[row]) for name in IDENTITY)

    def with_columns(self, added: Mapping[str, ColumnData]) -> Frame:
        """Return a frame of the same events with added columns of one entry per event."""
        if not added:
            return self
        frame = Frame(self._parent, self._size, self._rows, self.may_miss)
        frame._cut = {**self._cut, **added}
        return frame

    def add_all(self, columns: Mapping[str, ColumnData]) -> None:
        """Add columns of one entry per event to this frame only."""
        self._cut.update(columns)

    def drop(self, names: Iterable[str]) -> None:
        """Remove added columns."""
        for name in names:
            self._cut.pop(name, None)

    def added(self, name: str) -> ColumnData | None:
        """Return an added or already cut column, or None."""
        return self._cut.get(name)

    def rows(self, start: int, stop: int) -> Frame:
        """Return a range of events; only for a frame of all rows."""
        return Frame(self._parent, stop - start, slice(start, stop), self.may_miss)

    def take(self, rows: np.ndarray) -> Frame:
        """Return selected events; only for a frame of all rows."""
        return Frame(self._parent, len(rows), rows, self.may_miss)


def _cut(column: ColumnData, rows: slice | np.ndarray) -> ColumnData:
    if isinstance(column, np.ndarray):
        return column[rows]
    if isinstance(rows, slice):
        return Jagged(column.offsets[rows.start : rows.stop + 1], column.values)
    return column.take(rows)


def columns_of(events: Events, names: Iterable[str] | None = None) -> dict[str, ColumnData]:
    """Return the columns of a batch as plain arrays, without a copy if awkward has them packed."""
    found = {}
    for name in events.array.fields if names is None else names:
        try:
            found[name] = plain_column(name, events[name])
        except DataError:
            _check_complete(events, name)
            raise
    return found


def _check_complete(events: Events, name: str) -> None:
    """Raise if a list or a number of a column is missing, with the first such event."""
    column = events[name]
    rows = rows_without_value(column)
    if not len(rows) and column.ndim > 1:
        rows = np.flatnonzero(ak.to_numpy(ak.any(ak.is_none(column, axis=1), axis=1)))
    if len(rows):
        event = ":".join(map(str, events.identity[rows[0]])) if name not in IDENTITY else f"{rows[0]}"
        raise DataError(
            f"{name} has no value in event {event} ({len(rows)} such events in this batch): "
            "fill in the values, or leave the events out"
        )


def plain_column(name: str, column: ak.Array) -> ColumnData:
    """Return an awkward column as plain arrays; raises for other types than numbers and lists of numbers."""
    layout = column.layout
    if layout.is_indexed and not layout.is_option:  # of selected events
        layout = layout.project()
    text = layout.parameter("__array__") in ("string", "bytestring")
    if layout.is_list and not layout.is_regular and not text and layout.purelist_depth == 2:
        packed = layout.to_ListOffsetArray64(True).to_packed()
        if packed.content.is_unknown:  # all lists are empty
            return Jagged(packed.offsets.data, np.empty(0, np.float32))
        if packed.content.is_numpy:
            return Jagged(packed.offsets.data, packed.content.data)
    try:
        found = np.asarray(ak.to_numpy(column, allow_missing=False))
    except (ValueError, TypeError):
        found = np.empty(0, object)
    if found.dtype.kind not in "biuf":
        raise DataError(
            f"the column {name!r} has the type {column.type.content}: a trigger reads only numbers and lists of numbers"
        )
    return found
