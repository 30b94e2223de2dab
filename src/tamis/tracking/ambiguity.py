"""Which tracks to keep of those that share hits."""

from __future__ import annotations

import numpy as np

from tamis.tracking.kernels.ambiguity import count_owners, drop_sharing, list_owners
from tamis.tracking.kernels.types import TrackArrays

SHARED_MOST = 3


def resolve(tracks: TrackArrays, hits: int, most: int = SHARED_MOST) -> np.ndarray:
    """Return the rows of tracks of which none shares more than `most` hits with others; `hits` are those of the event."""
    total = len(tracks.size)
    owners, begins = np.zeros(hits, np.int32), np.zeros(hits + 1, np.int64)
    count_owners(tracks, total, owners, begins)
    lists, fill = np.empty(int(begins[-1]), np.int32), np.zeros(hits, np.int32)
    shared, heap = np.zeros(total, np.int32), np.empty(total + 1, np.int32)
    scores, alive = np.zeros(total), np.zeros(total, np.bool_)
    list_owners(tracks, total, owners, begins, lists, fill, shared)
    drop_sharing(tracks, total, most, owners, begins, lists, shared, heap, scores, alive)
    return np.flatnonzero(alive).astype(np.int32)
