"""Pairs of objects of two events that are nearest to each other, each used once."""

from __future__ import annotations

import numpy as np

from tamis.events.kinematics import expand_ranges

STRIDE = 1 << 31  # between cells along the first axis


def close_pairs(
    cells_a: np.ndarray, cells_b: np.ndarray, around: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of objects whose cells, (n, 2) integers, are the same or neighbours; the first axis is a circle of `around` cells, if given."""
    keys = cells_b[:, 0].astype(np.int64) * STRIDE + cells_b[:, 1]
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    rows_a, rows_b = [], []
    for across in (-1, 0, 1):
        first = cells_a[:, 0].astype(np.int64) + across
        if around is not None:
            first %= around
        for along in (-1, 0, 1):
            wanted = first * STRIDE + cells_a[:, 1] + along
            begin, end = np.searchsorted(keys, wanted), np.searchsorted(keys, wanted, side="right")
            owner, place = expand_ranges(begin, end - begin)
            rows_a.append(owner)
            rows_b.append(order[place])
    return np.concatenate(rows_a), np.concatenate(rows_b)


def pair_nearest(rows_a: np.ndarray, rows_b: np.ndarray, cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choose pairs in ascending order of their cost, such that no object is used twice."""
    order = np.lexsort((rows_b, rows_a, cost))
    a, b = rows_a[order], rows_b[order]
    chosen_a, chosen_b = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    while len(a):
        best = np.zeros((2, len(a)), bool)
        for row, values in zip(best, (a, b), strict=True):
            row[np.unique(values, return_index=True)[1]] = True
        taken = best.all(axis=0)  # the first pair of both
        chosen_a.append(a[taken])
        chosen_b.append(b[taken])
        rest = ~np.isin(a, a[taken]) & ~np.isin(b, b[taken])
        a, b = a[rest], b[rest]
    return np.concatenate(chosen_a), np.concatenate(chosen_b)
