"""Kernels of clusters and space points: one thread per module, then one per cluster."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tamis.tracking.cuda.device import KernelArray, kernel
from tamis.tracking.cuda.streams import cuda
from tamis.tracking.kernels.clusters import join_cells, place_cluster, sum_cells
from tamis.tracking.kernels.space_points import add_points
from tamis.tracking.kernels.types import CellArrays, ClusterArrays, FrameArrays, SpacePointArrays


@kernel
def mark_modules(count: int, cells: CellArrays, flags: KernelArray) -> None:
    """Mark the first cell of each module."""
    i = cuda.grid(1)
    if i < count:
        flags.values[i] = 1 if i == 0 or cells.module[i] != cells.module[i - 1] else 0


@kernel
def list_marked(count: int, flags: KernelArray, places: KernelArray, result: KernelArray) -> None:
    """Write the rows that are marked."""
    i = cuda.grid(1)
    if i < count and flags.values[i] != 0:
        result.values[places.values[i]] = i


@kernel
def join_modules(
    count: int, begins: KernelArray, cells: CellArrays, parent: KernelArray, found: KernelArray
) -> None:
    """Join the cells of each module, and count its clusters; `begins` ends with the number of cells."""
    k = cuda.grid(1)
    if k < count:
        start, stop = begins.values[k], begins.values[k + 1]
        join_cells(start, stop, cells.u, cells.v, parent.values)
        clusters = 0
        for place in range(start, stop):
            if parent.values[place] == place:
                clusters += 1
        found.values[k] = clusters


@kernel
def sum_modules(
    count: int,
    begins: KernelArray,
    numbers: KernelArray,
    cells: CellArrays,
    parent: KernelArray,
    label: KernelArray,
    frames: FrameArrays,
    clusters: ClusterArrays,
) -> None:
    """Write the clusters of each module from its number on."""
    k = cuda.grid(1)
    if k < count:
        first = numbers.values[k]
        last = sum_cells(
            begins.values[k], begins.values[k + 1], cells, parent.values, first, label.values, clusters
        )
        for n in range(first, last):
            place_cluster(np.uintp(n), cells, frames, clusters)


class SeedingModules(NamedTuple):
    """Which modules have space points, and with which others."""

    layer_of: Any  # the number of the seeding layer, -1 for others
    partner_of: Any  # the other module of a pair of strips, -1 for others


@kernel
def count_points(
    count: int,
    clusters: ClusterArrays,
    frames: FrameArrays,
    modules: SeedingModules,
    curvature_max: float,
    nothing: SpacePointArrays,
    numbers: KernelArray,
) -> None:
    """Count the space points of each cluster."""
    i = cuda.grid(1)
    if i < count:
        numbers.values[i] = add_points(
            np.uintp(i), clusters, frames, modules.layer_of, modules.partner_of, curvature_max, nothing, 0
        )


@kernel
def write_points(
    count: int,
    clusters: ClusterArrays,
    frames: FrameArrays,
    modules: SeedingModules,
    curvature_max: float,
    places: KernelArray,
    points: SpacePointArrays,
) -> None:
    """Write the space points of each cluster from its place on."""
    i = cuda.grid(1)
    if i < count:
        at = places.values[i]
        add_points(
            np.uintp(i), clusters, frames, modules.layer_of, modules.partner_of, curvature_max, points, at
        )
