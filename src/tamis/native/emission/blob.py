"""All constants of a program in one piece, in the order and with the gaps in which the code reads them."""

from __future__ import annotations

import numpy as np

from tamis.native.cut import HEADER

ALIGNED = 16  # floats


class Blob:
    """Arrays one behind the other, each at a multiple of a vector's size; the same one is kept once."""

    def __init__(self) -> None:
        """Begin with room for the table of how batches are cut."""
        self._pieces: list[np.ndarray] = [np.zeros(HEADER, np.float32)]
        self._known: dict[bytes, int] = {}
        self.floats = HEADER

    def add(self, array: np.ndarray) -> int:
        """Keep an array; return where it begins, in floats."""
        flat = np.ascontiguousarray(array, np.float32).ravel()
        key = flat.tobytes()
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self.floats
            padded = np.zeros(-(-max(1, flat.size) // ALIGNED) * ALIGNED, np.float32)
            padded[: flat.size] = flat
            self._pieces.append(padded)
            self.floats += padded.size
        return found

    def array(self) -> np.ndarray:
        """Return all of it, and a vector more that may be read beyond the end."""
        return np.concatenate([*self._pieces, np.zeros(2 * ALIGNED, np.float32)])
