"""All constants of a program as one array, in the order in which the code reads them."""

from __future__ import annotations

import numpy as np

from tamis.native.cut import HEADER
from tamis.native.emission.tuning import LINE_FLOATS


class Blob:
    """Arrays one after the other, each at a multiple of a cache line; equal ones are stored once."""

    def __init__(self) -> None:
        """Begin with space for the table that splits batches."""
        self._pieces: list[np.ndarray] = [np.zeros(HEADER, np.float32)]
        self._offsets: dict[bytes, int] = {}
        self._floats = HEADER

    def add(self, array: np.ndarray) -> int:
        """Store an array; return its offset in floats."""
        flat = np.ascontiguousarray(array, np.float32).ravel()
        key = flat.tobytes()
        offset = self._offsets.get(key)
        if offset is None:
            offset = self._offsets[key] = self._floats
            padded = np.zeros(-(-max(1, flat.size) // LINE_FLOATS) * LINE_FLOATS, np.float32)
            padded[: flat.size] = flat
            self._pieces.append(padded)
            self._floats += padded.size
        return offset

    def array(self) -> np.ndarray:
        """Return all of it, and two cache lines more, since vectors may be read beyond the end."""
        return np.concatenate([*self._pieces, np.zeros(2 * LINE_FLOATS, np.float32)])
