"""Rows of integers as the bits of a port, and back."""

from __future__ import annotations

import numpy as np

from tamis.fixedpoint import FixedGrid

WORD = 32


def words_of(grid: FixedGrid) -> int:
    """Return the number of 32-bit words of a port."""
    return max(1, -(-int(grid.widths.sum()) // WORD))


def pack(values: np.ndarray, grid: FixedGrid) -> np.ndarray:
    """Return rows of numbers as words of a port, the lowest first; every number has to be on its grid."""
    widths, fractions = grid.widths, grid.fractions
    integers = np.rint(np.ldexp(values, fractions)).astype(np.int64)
    bits = np.zeros((len(values), words_of(grid) * WORD), np.uint8)
    position = 0
    for column, width in enumerate(widths):
        bits[:, position : position + width] = (integers[:, column, None] >> np.arange(width)) & 1
        position += width
    return np.packbits(bits, axis=1, bitorder="little").view("<u4")


def unpack(words: np.ndarray, grid: FixedGrid) -> np.ndarray:
    """Return the numbers of a port's words."""
    bits = np.unpackbits(np.ascontiguousarray(words, "<u4").view(np.uint8), axis=1, bitorder="little")
    result = np.zeros((len(words), len(grid.widths)))
    position = 0
    for column, (width, signed, fraction) in enumerate(
        zip(grid.widths, grid.signed, grid.fractions, strict=True)
    ):
        weights = (1 << np.arange(width)).astype(np.int64)
        if signed and width:
            weights[-1] = -weights[-1]
        integers = bits[:, position : position + width].astype(np.int64) @ weights
        result[:, column] = np.ldexp(integers.astype(np.float64), -fraction)
        position += width
    return result
