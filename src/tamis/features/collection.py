"""The columns of one collection of a frame: flat arrays of one length, and where each event begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from tamis._base import DataError
from tamis.events import Frame, Jagged


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
        """Return the event that each object belongs to."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def take(self, kept: np.ndarray) -> Collection:
        """Return the objects that a mask keeps."""
        offsets = np.append(0, np.cumsum(kept))[self.offsets]
        return Collection(self.prefix, offsets, {name: column[kept] for name, column in self.columns.items()})


def collection(frame: Frame, prefix: str, names: tuple[str, ...]) -> Collection:
    """Return a collection, after proving that its columns are lists of one length."""
    first = _lists(frame, f"{prefix}_{names[0]}")
    offsets = first.offsets - first.offsets[0]
    flat = {names[0]: first.flat}
    count, many = len(flat[names[0]]), len(offsets) > 2
    for name in names[1:]:
        other = _lists(frame, f"{prefix}_{name}")
        values = flat[name] = other.flat
        if len(values) != count or (
            many
            and other.offsets is not first.offsets
            and not (other.offsets - other.offsets[0] == offsets).all()
        ):
            _tell_lengths(frame, f"{prefix}_{names[0]}", first, f"{prefix}_{name}", other)
    return Collection(prefix, offsets, flat)


def check_finite(frame: Frame, objects: Collection, columns: Mapping[str, np.ndarray]) -> None:
    """Refuse columns that hold no finite number somewhere, and name the first event with one."""
    for name, values in columns.items():
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            row = int(np.searchsorted(objects.offsets, bad[0], "right")) - 1
            raise DataError(
                f"{objects.prefix}_{name} is {values[bad[0]]} in event {frame.named(row)} ({len(bad)} such entries in "
                "this batch), so it has no place in an image: leave the event out"
            )


def leading(event: np.ndarray, size: np.ndarray, most: int) -> np.ndarray:
    """Return the indices of the `most` largest of each event, in event order, the largest first; ties keep their order."""
    order = np.lexsort((-size.astype(np.float64), event))
    sorted_event = event[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_event, sorted_event)
    return order[rank < most]


def _lists(frame: Frame, name: str) -> Jagged:
    column = frame[name]
    if isinstance(column, Jagged):
        return column
    if column.ndim == 2:
        events, length = column.shape
        return Jagged(np.arange(events + 1) * length, column.reshape(-1))
    raise DataError(
        f"{name} has one value per event, but a list of numbers is needed (such as var * float32)"
    )


def _tell_lengths(frame: Frame, first: str, mine: Jagged, second: str, other: Jagged) -> NoReturn:
    differ = np.flatnonzero(mine.counts != other.counts)
    raise DataError(
        f"{first} and {second} differ in length in event {frame.named(int(differ[0]))} "
        f"({len(differ)} such events in this batch), so they do not tell of the same objects: write the file anew"
    )
