"""Inputs of trees as small integers: multiples of a power of two, counted from an offset."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BEYOND_CODES = 0.002  # of the rows on either side of what the codes distinguish


@dataclass(frozen=True)
class Codes:
    """Code `floor(x * 2^fraction) - offset` of every input, limited to `bits` bits: exact in any float that holds x."""

    fraction: np.ndarray
    offset: np.ndarray
    bits: int

    @classmethod
    def of(cls, rows: np.ndarray, bits: int) -> Codes:
        """Choose the finest powers of two that distinguish the bulk of the rows, column by column."""
        finite = np.where(np.isfinite(rows), rows, np.nan).astype(np.float64)
        low, high = np.nanquantile(finite, [BEYOND_CODES, 1 - BEYOND_CODES], axis=0)
        span = np.where(high > low, high - low, 1.0)
        fraction = np.rint(np.log2(2.0**bits / span)).astype(np.int64)
        centre = np.floor(np.ldexp((low + high) / 2, fraction)) - 2 ** (bits - 1)
        lowest = np.floor(np.ldexp(low, fraction))
        covered = np.ldexp(span, fraction) <= 2.0**bits
        offset = np.where(
            covered,
            np.maximum(centre, lowest - (2.0**bits - np.ldexp(span, fraction)) // 2),
            np.where(low >= 0, lowest, centre),
        )
        return cls(fraction, offset, bits)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Return the codes of rows; NaN is the lowest one."""
        scaled = np.floor(np.ldexp(np.nan_to_num(rows.astype(np.float64), nan=-np.inf), self.fraction))
        return np.clip(scaled - self.offset, 0, 2**self.bits - 1).astype(np.int64)
