"""What is wrong with what a stage gave: contracts and numbers, event by event."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tamis.events import ColumnData, Jagged
from tamis.trigger.stages import Stage


def not_finite(stage: Stage, added: Mapping[str, ColumnData]) -> np.ndarray | None:
    """Return a mask of the events whose score is NaN or infinite, or None where all are finite."""
    bad: np.ndarray | None = None
    for name in stage.finite:
        column = added[name]
        values = column.flat if isinstance(column, Jagged) else column
        if values.dtype.kind != "f" or not values.size or _all_finite(values):
            continue
        found = _events(column, ~np.isfinite(values))
        bad = found if bad is None else np.logical_or(bad, found)
    return bad


def _all_finite(values: np.ndarray) -> bool:
    """Tell by one sum, which is NaN or infinite where any factor is; overflow of finite numbers is looked at twice."""
    total = float(np.add.reduce(values, axis=None))
    return total - total == 0.0 or bool(np.isfinite(values).all())


def _events(column: ColumnData, bad: np.ndarray) -> np.ndarray:
    if not isinstance(column, Jagged):
        return np.asarray(bad.reshape(len(bad), -1).any(axis=1))
    owner = np.repeat(np.arange(len(column)), column.counts)
    marked = np.zeros(len(column), bool)
    marked[owner[bad.reshape(len(bad), -1).any(axis=1)]] = True
    return marked


def told(error: BaseException) -> str:
    """Return an error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:400] if text else type(error).__name__
