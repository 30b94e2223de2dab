"""Kernels of the seeding: one thread per middle point, in passes that count and passes that fill."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tamis.tracking.cuda.device import KernelArray, device_function, kernel
from tamis.tracking.cuda.grid import Places
from tamis.tracking.cuda.streams import cuda
from tamis.tracking.kernels.parameters import start_seed
from tamis.tracking.kernels.seeding import complete_in_layer, keep_best, pair_with_layer
from tamis.tracking.kernels.types import (
    CandidateArrays,
    ConstantField,
    DoubletArrays,
    LayerGrid,
    LayerLinks,
    MappedField,
    PointArrays,
    SpacePointArrays,
    StartArrays,
    TripletArrays,
    TripletCuts,
)


class SeedArrays(NamedTuple):
    """Seeds: three points each, and the weight."""

    points: Any
    weight: Any


@kernel
def gather_points(
    count: int, order: KernelArray, points: SpacePointArrays, places: Places, sorted_points: PointArrays
) -> None:
    """Write space points in the order of the grid."""
    k = cuda.grid(1)
    if k < count:
        i = order.values[k]
        sorted_points.x[k], sorted_points.y[k], sorted_points.z[k] = points.x[i], points.y[i], points.z[i]
        sorted_points.r[k], sorted_points.phi[k] = places.radius[i], places.azimuth[i]
        sorted_points.variance_r[k], sorted_points.variance_z[k] = points.variance_r[i], points.variance_z[i]
        if len(sorted_points.bend) > 0:
            x, y, z, r = points.x[i], points.y[i], points.z[i], places.radius[i]
            outwards = x * points.bend_x[i] + y * points.bend_y[i]
            sorted_points.bend[k] = points.bend_z[i] - z / (r * r) * outwards
        sorted_points.layer[k] = points.layer[i]


@kernel
def mark_middles(
    count: int, points: PointArrays, links: LayerLinks, low: float, high: float, flags: KernelArray
) -> None:
    """Mark the points that may be in the middle of a triplet."""
    i = cuda.grid(1)
    if i < count:
        layer = points.layer[i]
        linked = links.inner_count[layer] > 0 and links.outer_count[layer] > 0
        flags.values[i] = 1 if linked and low < points.r[i] < high else 0


@device_function
def part_of(pairs: DoubletArrays, first: int, last: int) -> DoubletArrays:
    """Return the pairs of one middle point."""
    return DoubletArrays(
        pairs.point[first:last],
        pairs.slope[first:last],
        pairs.u[first:last],
        pairs.v[first:last],
        pairs.error[first:last],
        pairs.inverse[first:last],
    )


@device_function
def count_triplets(
    m: int,
    found: int,
    points: PointArrays,
    grid: LayerGrid,
    links: LayerLinks,
    cuts: TripletCuts,
    pairs: DoubletArrays,
    candidates: CandidateArrays,
) -> int:
    """Write the triplets of the pairs of a middle point as far as there is room, and return how many there are."""
    layer = points.layer[m]
    triplets = 0
    for i in range(found):
        for j in range(links.inner_count[layer]):
            inner = links.inner[layer, j]
            triplets = complete_in_layer(
                m, np.uintp(i), inner, links.bend[inner], points, grid, cuts, pairs, candidates, triplets
            )
    return triplets


@kernel
def count_pairs(
    count: int,
    middles: KernelArray,
    points: PointArrays,
    grid: LayerGrid,
    links: LayerLinks,
    cuts: TripletCuts,
    no_pairs: DoubletArrays,
    numbers: KernelArray,
) -> None:
    """Count the pairs of each middle point."""
    k = cuda.grid(1)
    if k < count:
        m = np.uintp(middles.values[k])
        layer = points.layer[m]
        pairs = 0
        for j in range(links.outer_count[layer]):
            pairs = pair_with_layer(m, links.outer[layer, j], points, grid, cuts, no_pairs, pairs)
        numbers.values[k] = pairs


@kernel
def fill_pairs(
    count: int,
    middles: KernelArray,
    points: PointArrays,
    grid: LayerGrid,
    links: LayerLinks,
    cuts: TripletCuts,
    begins: KernelArray,
    all_pairs: DoubletArrays,
    nothing: CandidateArrays,
    numbers: KernelArray,
) -> None:
    """Write the pairs of each middle point, and count its triplets."""
    k = cuda.grid(1)
    if k < count:
        m = np.uintp(middles.values[k])
        layer = points.layer[m]
        first, last = begins.values[k], begins.values[k + 1]
        pairs = part_of(all_pairs, first, last)
        found = 0
        for j in range(links.outer_count[layer]):
            found = pair_with_layer(m, links.outer[layer, j], points, grid, cuts, pairs, found)
        numbers.values[k] = count_triplets(m, found, points, grid, links, cuts, pairs, nothing)


@kernel
def fill_triplets(
    count: int,
    middles: KernelArray,
    points: PointArrays,
    grid: LayerGrid,
    links: LayerLinks,
    cuts: TripletCuts,
    begins: KernelArray,
    all_pairs: DoubletArrays,
    triplet_begins: KernelArray,
    candidates: CandidateArrays,
    best: TripletArrays,
) -> None:
    """Write the triplets of each middle point, and keep the best."""
    k = cuda.grid(1)
    if k < count:
        m = np.uintp(middles.values[k])
        first, last = begins.values[k], begins.values[k + 1]
        pairs = part_of(all_pairs, first, last)
        start, stop = triplet_begins.values[k], triplet_begins.values[k + 1]
        found = CandidateArrays(
            candidates.inner[start:stop],
            candidates.outer[start:stop],
            candidates.curvature[start:stop],
            candidates.radius[start:stop],
            candidates.impact[start:stop],
        )
        triplets = count_triplets(m, last - first, points, grid, links, cuts, pairs, found)
        best.kept[k] = keep_best(triplets, found, cuts, best.inner[k], best.outer[k], best.weight[k])


@kernel
def collect_seeds(
    count: int,
    middles: KernelArray,
    best: TripletArrays,
    begins: KernelArray,
    order: KernelArray,
    seeds: SeedArrays,
) -> None:
    """Write the seeds of each middle point, as rows of the space points."""
    k = cuda.grid(1)
    if k < count:
        for j in range(best.kept[k]):
            at = begins.values[k] + j
            seeds.points[at, 0] = order.values[best.inner[k, j]]
            seeds.points[at, 1] = order.values[middles.values[k]]
            seeds.points[at, 2] = order.values[best.outer[k, j]]
            seeds.weight[at] = best.weight[k, j]


@kernel
def start_seeds(
    count: int,
    seeds: SeedArrays,
    points: SpacePointArrays,
    position: KernelArray,
    field: ConstantField | MappedField,
    starts: StartArrays,
) -> None:
    """Write the clusters and the state of each seed."""
    k = cuda.grid(1)
    if k < count:
        start_seed(np.uintp(k), seeds.points, points, position.values, field, starts)
