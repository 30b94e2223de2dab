"""In what order the weights of a contraction lie: the one in which its blocks read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Kind:
    """How weights are kept: as floats, or as what they are exactly, in less room."""

    type: str  # in C
    read: str  # the function that makes floats of a vector of them
    per_float: int  # of them in the room of a float

    def kept(self, values: np.ndarray) -> np.ndarray:
        """Return values as they are kept, as so many floats."""
        flat = np.ascontiguousarray(values, np.float32).ravel()
        if self is FLOATS:
            return flat
        small = (flat.view(np.uint32) >> 16).astype(np.uint16) if self is SHORTS else flat.astype(np.int8)
        return np.pad(small, (0, -len(small) % self.per_float)).view(np.float32)


FLOATS, SHORTS, BYTES = Kind("float", "ld", 1), Kind("uint16_t", "ld_short", 2), Kind("int8_t", "ld_byte", 4)
MANY = 4096  # weights: fewer are no burden


def kind_of(weights: np.ndarray) -> Kind:
    """Return in how little room weights can be kept as they are: whole numbers of a byte, bfloat16, or floats."""
    if weights.size < MANY:
        return FLOATS
    if (np.abs(weights) <= np.iinfo(np.int8).max).all() and (weights == np.rint(weights)).all():
        return BYTES
    bits = np.ascontiguousarray(weights, np.float32).view(np.uint32)
    return FLOATS if (bits & 0xFFFF).any() else SHORTS
