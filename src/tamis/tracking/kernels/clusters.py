"""Connected components of cells on a module, and the charge-weighted centre of each (8-connectivity)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tamis.tracking.kernels.body import body, loop

ZERO32, HALF32, ONE32, TWELFTH = np.float32(0), np.float32(0.5), np.float32(1), np.float32(1 / 12)


@body
def root_of(parent: Any, cell: Any) -> Any:
    """Return the root of a cell, and halve the path to it."""
    while parent[np.uintp(cell)] != cell:
        parent[np.uintp(cell)] = parent[np.uintp(parent[np.uintp(cell)])]
        cell = parent[np.uintp(cell)]
    return cell


@body
def join_cells(start: Any, stop: Any, u: Any, v: Any, parent: Any) -> None:
    """Join neighbouring cells of one module, which are in ascending order of v, then u. The root of a cluster is its first cell."""
    above = start  # the first cell of the row before that may touch
    for place in range(start, stop):
        i = np.uintp(place)
        here, row = u[i], v[i]
        root = np.int32(place)
        if place > start:
            left = np.uintp(place - 1)
            if v[left] == row and u[left] + 1 == here:
                root = parent[left]
        parent[i] = root
        while above < place and (
            v[np.uintp(above)] + 1 < row or (v[np.uintp(above)] + 1 == row and u[np.uintp(above)] + 1 < here)
        ):
            above += 1
        other = above
        while other < place and v[np.uintp(other)] + 1 == row and u[np.uintp(other)] <= here + 1:
            a, b = root_of(parent, np.int32(place)), root_of(parent, np.int32(other))
            if a < b:
                parent[np.uintp(b)] = a
            elif b < a:
                parent[np.uintp(a)] = b
            other += 1


@body
def sum_cells(start: Any, stop: Any, cells: Any, parent: Any, at: Any, label: Any, clusters: Any) -> Any:
    """Number the clusters of one module from `at` on and add up charge, charge x u, charge x v (from the first cell) and charge squared.

    Returns the number after the last one.
    """
    for place in range(start, stop):
        i = np.uintp(place)
        q = cells.charge[i]
        if parent[i] == place:
            k = np.uintp(at)
            label[i] = at
            at += 1
            clusters.first[k] = place
            clusters.size[k] = 1
            clusters.sums[k, 0], clusters.sums[k, 1], clusters.sums[k, 2], clusters.sums[k, 3] = (
                q,
                ZERO32,
                ZERO32,
                q * q,
            )
            continue
        root = np.uintp(root_of(parent, np.int32(place)))
        k = np.uintp(label[root])
        clusters.size[k] += 1
        clusters.sums[k, 0] += q
        clusters.sums[k, 1] += q * np.float32(cells.u[i] - cells.u[root])
        clusters.sums[k, 2] += q * np.float32(cells.v[i] - cells.v[root])
        clusters.sums[k, 3] += q * q
    return at


@body
def place_cluster(k: Any, cells: Any, frames: Any, clusters: Any) -> None:
    """Write the local position of a cluster, its variance and its position in space.

    Each cell is uniform over its pitch, so that the variance of the charge-weighted mean is pitch^2 / 12 times the sum of the squared
    weights, as in ACTS.
    """
    cell = np.uintp(clusters.first[k])
    module = np.uintp(cells.module[cell])
    inverse = ONE32 / clusters.sums[k, 0]
    shrink = clusters.sums[k, 3] * inverse * inverse * TWELFTH
    pitch_u, pitch_v = frames.grid[module, 2], frames.grid[module, 3]
    u = (
        frames.grid[module, 0]
        + (np.float32(cells.u[cell]) + HALF32 + clusters.sums[k, 1] * inverse) * pitch_u
    )
    v = (
        frames.grid[module, 1]
        + (np.float32(cells.v[cell]) + HALF32 + clusters.sums[k, 2] * inverse) * pitch_v
    )
    clusters.module[k] = module
    clusters.local[k, 0], clusters.local[k, 1] = u, v
    clusters.variance[k, 0], clusters.variance[k, 1] = pitch_u * pitch_u * shrink, pitch_v * pitch_v * shrink
    for axis in range(3):
        clusters.position[k, axis] = (
            frames.centre[module, axis] + u * frames.axes[module, axis] + v * frames.axes[module, 3 + axis]
        )


@loop
def cluster_cells(cells: Any, frames: Any, parent: Any, label: Any, clusters: Any) -> Any:
    """Find the clusters of one module after the other; return how many there are."""
    at, start = 0, 0
    total = len(cells.module)
    while start < total:
        stop = start + 1
        while stop < total and cells.module[np.uintp(stop)] == cells.module[np.uintp(start)]:
            stop += 1
        join_cells(start, stop, cells.u, cells.v, parent)
        first = at
        at = sum_cells(start, stop, cells, parent, at, label, clusters)
        for k in range(first, at):
            place_cluster(np.uintp(k), cells, frames, clusters)
        start = stop
    return at
