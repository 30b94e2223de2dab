"""Kernels that sort points and hits into the cells of a grid: count, scan, fill, order within each cell."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tamis.tracking.cuda.device import KernelArray, empty, filled, kernel, launch
from tamis.tracking.cuda.scan import exclusive_sums
from tamis.tracking.cuda.streams import cuda
from tamis.tracking.kernels.grid import cell_of
from tamis.tracking.kernels.types import LayerGrid


class Spots(NamedTuple):
    """What a grid sorts, in float32, with variances of which it keeps the largest on each layer."""

    x: Any
    y: Any
    z: Any
    variance_r: Any
    variance_z: Any
    layer: Any


class Places(NamedTuple):
    """The cell, radius and azimuth of each spot."""

    cell: Any
    radius: Any
    azimuth: Any


@kernel
def count_spots(count: int, spots: Spots, grid: LayerGrid, places: Places, numbers: KernelArray) -> None:
    """Find the cell of each spot, and count the spots of each cell."""
    i = cuda.grid(1)
    if i < count:
        layer = spots.layer[i]
        cell, radius, azimuth = cell_of(spots.x[i], spots.y[i], spots.z[i], layer, grid)
        places.cell[i], places.radius[i], places.azimuth[i] = cell, radius, azimuth
        cuda.atomic.add(numbers.values, cell, 1)
        cuda.atomic.max(grid.variance_r, layer, spots.variance_r[i])
        cuda.atomic.max(grid.variance_z, layer, spots.variance_z[i])


@kernel
def fill_cells(
    count: int, places: Places, begins: KernelArray, filled_so_far: KernelArray, order: KernelArray
) -> None:
    """Write the spots of each cell, in any order."""
    i = cuda.grid(1)
    if i < count:
        cell = places.cell[i]
        order.values[begins.values[cell] + cuda.atomic.add(filled_so_far.values, cell, 1)] = i


@kernel
def order_cells(
    count: int, places: Places, begins: KernelArray, unordered: KernelArray, order: KernelArray
) -> None:
    """Put the spots of each cell into ascending order, so that results do not depend on the order of threads."""
    i = cuda.grid(1)
    if i < count:
        cell = places.cell[i]
        first = begins.values[cell]
        before = 0
        for k in range(first, begins.values[cell + 1]):
            if unordered.values[k] < i:
                before += 1
        order.values[first + before] = i


def sort_spots(spots: Spots, grid: LayerGrid) -> tuple[LayerGrid, Places, Any]:
    """Return the grid with its contents, the cell of each spot, and the spots in the order of cells. `grid` is on the device, and empty."""
    count, layers, cells = len(spots.x), len(grid.kind), len(grid.kind) * grid.rows * grid.columns
    places = Places(empty(count, np.int32), empty(count, np.float32), empty(count, np.float32))
    numbers, unordered, order = filled(cells, np.int32), empty(count, np.int32), empty(count, np.int32)
    grid = grid._replace(variance_r=filled(layers, np.float32), variance_z=filled(layers, np.float32))
    launch(count_spots, count, spots, grid, places, KernelArray(numbers))
    begins = exclusive_sums(numbers)
    filled_so_far = KernelArray(filled(cells, np.int32))
    launch(fill_cells, count, places, KernelArray(begins), filled_so_far, KernelArray(unordered))
    launch(order_cells, count, places, KernelArray(begins), KernelArray(unordered), KernelArray(order))
    return grid._replace(begins=begins), places, order
