"""What stages added, event by event, and somebody wants: histograms of every event, streams of those that they take."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from quickbeam.events import ColumnData, Frame, Jagged
from quickbeam.trigger.decide.scatter import scatter
from quickbeam.trigger.menu import Program
from quickbeam.trigger.stages import Stage


class _Column:
    """A column as it comes in, piece by piece."""

    __slots__ = ("parts", "rows")

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.parts: list[ColumnData] = []


class Collected:
    """Takes little of an event that is rejected, and all that was added to one that is kept."""

    def __init__(self, program: Program) -> None:
        """Prepare a column for everything but the rows of features, which are large and wanted by nobody later."""
        stages = [op.stage for op in program.operations if op.stage is not None]
        names = dict.fromkeys(name for stage in stages if stage.kind != "features" for name in stage.adds)
        self._watched = frozenset(program.watched)
        self._columns = {name: _Column() for name in names}
        self._others = [(name, column) for name, column in self._columns.items() if name not in self._watched]

    def watcher(self, stage: Stage) -> Callable[[int, Mapping[str, ColumnData]], None] | None:
        """Return what takes those columns of a stage that are wanted of every event, or None where none is."""
        mine = [(name, self._columns[name]) for name in stage.adds if name in self._watched]
        if stage.kind == "features" or not mine:
            return None

        def watch(event: int, added: Mapping[str, ColumnData]) -> None:
            for name, column in mine:
                column.rows.append(event)
                column.parts.append(added[name])

        return watch

    def keep(self, event: int, frame: Frame) -> None:
        """Take the rest of what was added to an event."""
        for name, column in self._others:
            part = frame.added(name)
            if part is not None:
                column.rows.append(event)
                column.parts.append(part)

    def columns(self, events: int) -> tuple[dict[str, ColumnData], dict[str, np.ndarray]]:
        """Return the columns over all events, and of each for which events it is there."""
        found: dict[str, ColumnData] = {}
        computed: dict[str, np.ndarray] = {}
        for name, column in self._columns.items():
            if column.rows:
                rows = np.array(column.rows)
                computed[name] = np.zeros(events, bool)
                computed[name][rows] = True
                found[name] = scatter(events, [(rows, _joined(column.parts))])
        return found, computed


def _joined(parts: list[ColumnData]) -> ColumnData:
    if not isinstance(parts[0], Jagged):
        return np.concatenate(parts)  # type: ignore[arg-type] # a stage adds one kind of column
    lists = [part.flat for part in parts]
    offsets = np.zeros(len(lists) + 1, np.int64)
    np.cumsum([len(flat) for flat in lists], out=offsets[1:])
    return Jagged(offsets, np.concatenate(lists))
