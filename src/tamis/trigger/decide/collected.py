"""Collect the columns that stages add event by event: for all events if a histogram needs them, else for accepted ones."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping

import numpy as np

from tamis.events import ColumnData, Frame, Jagged
from tamis.trigger.decide.scatter import Piece, scatter
from tamis.trigger.menu import MenuProgram
from tamis.trigger.stages import Stage


class _Column:
    """A column that grows event by event in flat buffers, without Python objects per event."""

    __slots__ = ("_counts", "_data", "_lists", "_rows", "_shape", "_type", "pieces")

    def __init__(self) -> None:
        self.pieces: list[Piece] = []  # completed pieces, whose type or shape differs from the current one
        self._begin(None, (), lists=False)

    def _begin(self, kind: np.dtype | None, shape: tuple[int, ...], *, lists: bool) -> None:
        self._type, self._shape, self._lists = kind, shape, lists
        self._rows, self._counts, self._data = array("q"), array("q"), bytearray()

    def add(self, event: int, part: ColumnData) -> None:
        """Append the column of one event."""
        lists = isinstance(part, Jagged)
        values = part.flat if isinstance(part, Jagged) else part
        same = values.dtype is self._type or values.dtype == self._type
        if not same or lists is not self._lists or values.shape[1:] != self._shape:
            self._end()
            self._begin(values.dtype, values.shape[1:], lists=lists)
        self._rows.append(event)
        self._counts.append(len(values))
        self._data += values.tobytes()

    def _end(self) -> None:
        """Complete the current piece."""
        if not self._rows:
            return
        rows, counts = np.frombuffer(self._rows, np.int64), np.frombuffer(self._counts, np.int64)
        values = np.frombuffer(self._data, self._type).reshape(int(counts.sum()), *self._shape)
        self.pieces.append(
            (rows, Jagged(np.concatenate([[0], np.cumsum(counts)]), values) if self._lists else values)
        )

    def whole(self, events: int) -> tuple[ColumnData, np.ndarray] | None:
        """Return the column over all events and a mask of the events that have it, or None if no event has it."""
        self._end()
        if not self.pieces:
            return None
        there = np.zeros(events, bool)
        for rows, _ in self.pieces:
            there[rows] = True
        return scatter(events, self.pieces), there


class Collected:
    """Collects watched columns of every event, and all added columns of accepted events."""

    def __init__(self, program: MenuProgram) -> None:
        """Prepare a buffer per added column, except for the rows of features, which are large and not written."""
        stages = [op.stage for op in program.operations if op.stage is not None]
        names = dict.fromkeys(name for stage in stages if stage.kind != "features" for name in stage.adds)
        self._watched = frozenset(program.watched)
        self._columns = {name: _Column() for name in names}
        self._others = [(name, column) for name, column in self._columns.items() if name not in self._watched]

    def watcher(self, stage: Stage) -> Callable[[int, Mapping[str, ColumnData]], None] | None:
        """Return a function that collects the watched columns of a stage, or None if it has none."""
        watched = [(name, self._columns[name]) for name in stage.adds if name in self._watched]
        if stage.kind == "features" or not watched:
            return None

        def watch(event: int, added: Mapping[str, ColumnData]) -> None:
            for name, column in watched:
                column.add(event, added[name])

        return watch

    def keep(self, event: int, frame: Frame) -> None:
        """Collect the other added columns of an accepted event."""
        for name, column in self._others:
            part = frame.added(name)
            if part is not None:
                column.add(event, part)

    def columns(self, events: int) -> tuple[dict[str, ColumnData], dict[str, np.ndarray]]:
        """Return the columns over all events, and for each a mask of the events that have it."""
        found: dict[str, ColumnData] = {}
        computed: dict[str, np.ndarray] = {}
        for name, column in self._columns.items():
            whole = column.whole(events)
            if whole is not None:
                found[name], computed[name] = whole
        return found, computed
