"""Clusters: neighbouring cells of a module become one measurement."""

from __future__ import annotations

import numpy as np

from tamis.events.detector import Modules
from tamis.tracking.kernels.clusters import cluster_cells
from tamis.tracking.kernels.types import CellArrays, ClusterArrays, FrameArrays


def frames_of(modules: Modules) -> FrameArrays:
    """Return where modules are, for kernels."""
    count = len(modules)
    return FrameArrays(
        np.ascontiguousarray(modules.centre, np.float64),
        np.ascontiguousarray(modules.axes.reshape(count, 9), np.float64),
        np.concatenate([modules.first, modules.pitch], axis=1).astype(np.float32),
    )


def find_clusters(cells: CellArrays, frames: FrameArrays) -> ClusterArrays:
    """Return the clusters of cells that touch, also at corners."""
    count = len(cells.module)
    parent, label = np.empty(count, np.int32), np.empty(count, np.int32)
    clusters = ClusterArrays(
        np.empty(count, np.int32), np.empty((count, 2), np.float32), np.empty((count, 2), np.float32), np.empty((count, 3), np.float64),
        np.empty(count, np.int32), np.empty(count, np.int32), np.empty((count, 4), np.float32),
    )  # fmt: skip
    found = cluster_cells(cells, frames, parent, label, clusters)
    return ClusterArrays(*(array[:found] for array in clusters))
