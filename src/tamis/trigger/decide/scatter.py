"""Build a column over all events from the values of some of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tamis.events import ColumnData, Jagged

Piece = tuple[np.ndarray, ColumnData]  # increasing rows, and one entry for each


def scatter(events: int, pieces: Sequence[Piece]) -> ColumnData:
    """Return a column over all events; an event that is in no piece gets NaN, 0 or an empty list."""
    first = pieces[0][1]
    if len(pieces) == 1 and len(pieces[0][0]) == events:
        return first
    if isinstance(first, Jagged):
        return _lists(events, [(rows, column) for rows, column in pieces if isinstance(column, Jagged)])
    arrays = [(rows, column) for rows, column in pieces if isinstance(column, np.ndarray)]
    kind = np.result_type(*(column.dtype for _, column in arrays))
    full = np.full((events, *first.shape[1:]), np.nan if kind.kind == "f" else 0, kind)
    for rows, column in arrays:
        full[rows] = column
    return full


def _lists(events: int, pieces: list[tuple[np.ndarray, Jagged]]) -> Jagged:
    counts = np.zeros(events, np.int64)
    for rows, lists in pieces:
        counts[rows] = lists.counts
    offsets = np.zeros(events + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    if len(pieces) == 1:
        return Jagged(offsets, pieces[0][1].flat)
    kind = np.result_type(*(lists.values.dtype for _, lists in pieces))
    values = np.empty((int(offsets[-1]), *pieces[0][1].values.shape[1:]), kind)
    for rows, lists in pieces:
        inner = np.arange(len(lists.flat)) - np.repeat(lists.offsets[:-1] - lists.offsets[0], lists.counts)
        values[np.repeat(offsets[rows], lists.counts) + inner] = lists.flat
    return Jagged(offsets, values)
