"""Arrays that begin at a cache line."""

from __future__ import annotations

import numpy as np

CACHE_LINE_BYTES = 64


def aligned(values: np.ndarray) -> np.ndarray:
    """Return a copy of float32 values that begins at a cache line."""
    room = np.empty(values.nbytes + CACHE_LINE_BYTES, np.uint8)
    start = -room.ctypes.data % CACHE_LINE_BYTES
    copy = room[start : start + values.nbytes].view(np.float32)
    copy[:] = values
    return copy
