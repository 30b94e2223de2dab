"""Lists of numbers out of a frame, and the proof that those of one collection belong together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tamis._base import DataError
from tamis.events import Frame, Jagged


def lists_of(frame: Frame, name: str) -> Jagged:
    """Return a column of lists, or say that it is none."""
    column = frame[name]
    if isinstance(column, np.ndarray) and column.ndim == 2:
        events, length = column.shape
        return Jagged(np.arange(events + 1) * length, column.reshape(-1))
    if not isinstance(column, Jagged):
        raise DataError(
            f"{name} has one value per event, but a list of numbers is needed (such as var * float32)"
        )
    return column


def values_of(frame: Frame, name: str) -> np.ndarray:
    """Return a column of one number per event."""
    column = frame[name]
    if not isinstance(column, np.ndarray) or column.ndim != 1:
        raise DataError(f"{name} has a list in every event, but one number is needed (such as float32)")
    return column


def starts_of(lists: Jagged) -> np.ndarray:
    """Return where each event begins in the flat values, and after the last one their number."""
    starts: np.ndarray = lists.offsets - lists.offsets[0]
    return starts


def check_lengths(frame: Frame, names: Sequence[str]) -> None:
    """Refuse columns of one collection that differ in their number of objects."""
    first = lists_of(frame, names[0])
    for name in names[1:]:
        other = lists_of(frame, name)
        if first.matches(other):
            continue
        differ = np.flatnonzero(first.counts != other.counts)
        if len(differ):
            raise DataError(
                f"{names[0]} and {name} differ in length in event {frame.named(int(differ[0]))} "
                f"({len(differ)} such events in this batch), so they do not tell of the same objects: write the file anew"
            )


def collection(frame: Frame, names: Sequence[str]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return where each event begins and the flat values of every column, proven to be of one length per event."""
    lists = [lists_of(frame, name) for name in names]
    values = [one.flat for one in lists]
    if len(frame) != 1 or any(len(one) != len(values[0]) for one in values):
        check_lengths(frame, names)
    return starts_of(lists[0]), values
