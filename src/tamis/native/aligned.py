"""Memory that begins where a cache line does."""

from __future__ import annotations

import numpy as np

LINE = 64  # bytes


def aligned(values: np.ndarray) -> np.ndarray:
    """Copy floats to where a cache line begins."""
    room = np.empty(values.nbytes + LINE, np.uint8)
    start = -room.ctypes.data % LINE
    found = room[start : start + values.nbytes].view(np.float32)
    found[:] = values
    return found
