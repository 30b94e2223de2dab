"""Points sorted into the cells of layers: count, scan, fill."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tamis.tracking.kernels.body import body, loop

PI = np.float32(math.pi)
BARREL = 0


@body
def cell_of(x: Any, y: Any, z: Any, layer: Any, grid: Any) -> Any:
    """Return the cell of a point, its radius and its azimuth."""
    r = np.float32(math.sqrt(x * x + y * y))
    phi = np.float32(math.atan2(y, x))
    along = z if grid.kind[layer] == BARREL else r
    row = min(max(int((along - grid.first[layer]) * grid.scale[layer]), 0), grid.rows - 1)
    column = min(max(int((phi + PI) * grid.per_radian), 0), grid.columns - 1)
    return (layer * grid.rows + row) * grid.columns + column, r, phi


@loop
def sort_points(
    x: Any, y: Any, z: Any, layer: Any, grid: Any, cell: Any, radius: Any, azimuth: Any, order: Any
) -> None:
    """Write the cell, radius and azimuth of each point, where cells begin (`grid.begins`), and the points in the order of cells."""
    begins = grid.begins
    for k in range(len(begins)):
        begins[k] = 0
    for i in range(len(x)):
        cell[i], radius[i], azimuth[i] = cell_of(x[i], y[i], z[i], layer[i], grid)
        begins[cell[i] + 2] += 1
    for k in range(2, len(begins)):
        begins[k] += begins[k - 1]
    for i in range(len(x)):
        at = begins[cell[i] + 1]
        begins[cell[i] + 1] = at + 1
        order[at] = i


@loop
def largest_on_layers(values: Any, layer: Any, largest: Any) -> None:
    """Write the largest value on each layer."""
    for k in range(len(largest)):
        largest[k] = 0
    for i in range(len(layer)):
        if values[i] > largest[layer[i]]:
            largest[layer[i]] = values[i]


@body
def place_hit(
    k: Any,
    i: Any,
    clusters: Any,
    layer: Any,
    radius: Any,
    azimuth: Any,
    grid: Any,
    hits: Any,
) -> None:
    """Write cluster `i` as hit `k`."""
    for axis in range(3):
        hits.position[k, axis] = clusters.position[i, axis]
    hits.variance[k, 0], hits.variance[k, 1] = clusters.variance[i, 0], clusters.variance[i, 1]
    hits.module[k], hits.layer[k] = clusters.module[i], layer
    hits.along[k] = np.float32(clusters.position[i, 2]) if grid.kind[layer] == BARREL else radius
    hits.phi[k] = azimuth


@loop
def place_hits(
    order: Any, clusters: Any, layer: Any, radius: Any, azimuth: Any, grid: Any, hits: Any, place: Any
) -> None:
    """Write the clusters of an event as hits in the order of the grid, and the place of each."""
    for n in range(len(order)):
        k, i = np.uintp(n), np.uintp(order[n])
        place_hit(k, i, clusters, layer[i], radius[i], azimuth[i], grid, hits)
        place[i] = n
