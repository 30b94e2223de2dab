"""Columns of lists from a frame, and checks that the columns of one collection agree in length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tamis._base import DataError
from tamis.events import Frame, Jagged


def lists_of(frame: Frame, name: str) -> Jagged:
    """Return a column of lists; raise `DataError` for a column with one value per event."""
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
    """Return a column with one number per event; raise `DataError` for a column of lists."""
    column = frame[name]
    if not isinstance(column, np.ndarray) or column.ndim != 1:
        raise DataError(f"{name} has a list in every event, but one number is needed (such as float32)")
    return column


def starts_of(lists: Jagged) -> np.ndarray:
    """Return the index in the flat values where each event starts, and at the end the number of values."""
    starts: np.ndarray = lists.offsets - lists.offsets[0]
    return starts


def check_lengths(frame: Frame, names: Sequence[str]) -> None:
    """Raise `DataError` if columns of one collection differ in length in some event."""
    first = lists_of(frame, names[0])
    for name in names[1:]:
        other = lists_of(frame, name)
        if first.matches(other):
            continue
        differ = np.flatnonzero(first.counts != other.counts)
        if len(differ):
            raise DataError(
                f"{names[0]} and {name} differ in length in event {frame.named(int(differ[0]))} "
                f"({len(differ)} such events in this batch), so they do not describe the same objects: rewrite the file"
            )


def flat_columns(frame: Frame, names: Sequence[str]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the offsets of the events and the flat values of every column, after checking their lengths."""
    lists = [lists_of(frame, name) for name in names]
    values = [column.flat for column in lists]
    if len(frame) != 1 or any(len(column) != len(values[0]) for column in values):
        check_lengths(frame, names)
    return starts_of(lists[0]), values
