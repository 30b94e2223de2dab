"""What stages added, event by event, and somebody wants: histograms of every event, streams of those that they take."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from quickbeam.events import ColumnData, Jagged
from quickbeam.trigger.decide.scatter import scatter
from quickbeam.trigger.menu import Program
from quickbeam.trigger.stages import Stage

_Piece = tuple[int, Mapping[str, ColumnData]]  # an event, and what a stage added to it


class Collected:
    """Takes what stages add with one call per stage and event, and makes columns of it when all events are done."""

    def __init__(self, program: Program) -> None:
        """Keep a list for each stage; the rows of features are large and wanted by nobody later."""
        self._watched = frozenset(program.watched)
        self._pieces: dict[tuple[str, ...], list[_Piece]] = {}

    def taker(self, stage: Stage) -> Callable[[_Piece], None] | None:
        """Return what takes the additions of a stage."""
        if stage.kind == "features":
            return None
        return self._pieces.setdefault(stage.adds, []).append

    def columns(self, events: int, kept: np.ndarray) -> tuple[dict[str, ColumnData], dict[str, np.ndarray]]:
        """Return the columns over all events, those for histograms of each, others of the kept events alone; and of
        each for which events it was computed.
        """
        found: dict[str, ColumnData] = {}
        computed: dict[str, np.ndarray] = {}
        wanted = kept.tolist()
        for names, pieces in self._pieces.items():
            chosen = [piece for piece in pieces if wanted[piece[0]]]
            for name in names:
                mine = pieces if name in self._watched else chosen
                if mine:
                    rows = np.array([event for event, _ in mine])
                    computed[name] = np.zeros(events, bool)
                    computed[name][rows] = True
                    found[name] = scatter(events, [(rows, _joined([added[name] for _, added in mine]))])
        self._pieces.clear()
        return found, computed


def _joined(parts: list[ColumnData]) -> ColumnData:
    if not isinstance(parts[0], Jagged):
        return np.concatenate(parts)  # type: ignore[arg-type] # a stage adds one kind of column
    lists = [part.flat for part in parts]
    offsets = np.zeros(len(lists) + 1, np.int64)
    np.cumsum([len(flat) for flat in lists], out=offsets[1:])
    return Jagged(offsets, np.concatenate(lists))
