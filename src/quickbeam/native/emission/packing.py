"""In what order the weights of a contraction lie: the one in which its blocks read them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def by_vectors(
    weights: np.ndarray, cut: Sequence[tuple[int, int]], column: int, step: int
) -> tuple[np.ndarray, list[int]]:
    """Lay out (groups, terms, outputs) as vectors of `step` outputs, each with all of its terms, `column` floats apart.

    `cut` says in how many blocks of how many vectors they are used; returned are a row per group, and where each kind of block begins.
    """
    groups, terms, outputs = weights.shape
    total = sum(number * size for number, size in cut)
    columns = np.zeros((groups, total, column // step, step), np.float32)
    every = np.zeros((groups, terms, total * step), np.float32)
    every[:, :, :outputs] = weights
    columns[:, :, :terms] = every.reshape(groups, terms, total, step).swapaxes(1, 2)
    starts = np.cumsum([0, *(number * size for number, size in cut)])[:-1]
    return columns.reshape(groups, -1), [int(start) * column for start in starts]


def by_blocks(weights: np.ndarray, cut: Sequence[tuple[int, int]]) -> tuple[np.ndarray, list[int]]:
    """Lay out (groups, terms, outputs) block by block, and in each term by term; return a row per group, and where each kind begins."""
    groups, terms, _ = weights.shape
    pieces, starts = [], []
    done = where = 0
    for number, size in cut:
        starts.append(where)
        for _ in range(number):
            pieces.append(weights[:, :, done : done + size].reshape(groups, -1))
            done += size
        where += number * size * terms
    return np.concatenate(pieces, axis=1), starts
