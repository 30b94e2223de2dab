"""The columns of one collection of a frame: flat arrays of equal length, and the offsets of the events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tamis._base import DataError
from tamis.events import Frame
from tamis.features.lists import flat_columns


@dataclass(frozen=True)
class Collection:
    """Objects of some events: those of event i are `[offsets[i]:offsets[i + 1]]` of every column."""

    prefix: str
    offsets: np.ndarray
    columns: dict[str, np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a column by its name without the prefix."""
        return self.columns[name]

    @property
    def owner(self) -> np.ndarray:
        """Return the index of each object's event."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def take(self, kept: np.ndarray) -> Collection:
        """Return the objects selected by a mask."""
        offsets = np.append(0, np.cumsum(kept))[self.offsets]
        return Collection(self.prefix, offsets, {name: column[kept] for name, column in self.columns.items()})


def collection(frame: Frame, prefix: str, names: tuple[str, ...]) -> Collection:
    """Return a collection, after checking that its columns are lists of equal length."""
    offsets, values = flat_columns(frame, [f"{prefix}_{name}" for name in names])
    return Collection(prefix, offsets, dict(zip(names, values, strict=True)))


def check_finite(frame: Frame, objects: Collection, columns: Mapping[str, np.ndarray]) -> None:
    """Raise `DataError` for columns with NaN or infinity, with the first event that has one."""
    for name, values in columns.items():
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            row = int(np.searchsorted(objects.offsets, bad[0], "right")) - 1
            raise DataError(
                f"{objects.prefix}_{name} is {values[bad[0]]} in event {frame.named(row)} ({len(bad)} such entries in "
                "this batch), so it cannot be placed in an image: leave the event out"
            )


def leading(event: np.ndarray, size: np.ndarray, most: int) -> np.ndarray:
    """Return the indices of the `most` largest objects of each event, in descending order; ties keep their order."""
    order = np.lexsort((-size.astype(np.float64), event))
    sorted_event = event[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_event, sorted_event)
    return order[rank < most]
