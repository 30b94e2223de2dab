"""Kernels of finding and fit: one thread per seed or track, with its state in local memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tamis.tracking.cuda.device import KernelArray, kernel
from tamis.tracking.cuda.grid import Places, Spots
from tamis.tracking.cuda.streams import cuda
from tamis.tracking.kernels.finding import BRANCHES_MOST, follow_branches
from tamis.tracking.kernels.fitting import fit_track
from tamis.tracking.kernels.grid import place_hit
from tamis.tracking.kernels.types import (
    ClusterArrays,
    ConstantField,
    FindingCuts,
    FitArrays,
    HitArrays,
    LayerGrid,
    MappedField,
    StartArrays,
    SurfaceStack,
    TrackArrays,
    TrackScratch,
)


class DetectorArrays(NamedTuple):
    """What tracks cross."""

    frames: Any  # (modules, 9): axes
    cells: Any  # (modules, 4): pitches, and the thickness in pitches
    surface_of: Any  # the surface of each layer


class FoundWays(NamedTuple):
    """The ways of tracks, as rows of clusters."""

    way: Any  # (tracks, most); below 0 where a surface without a hit was crossed
    steps: Any
    holes: Any


@kernel
def spot_hits(count: int, clusters: ClusterArrays, layer_of: KernelArray, spots: Spots) -> None:
    """Write clusters as a grid takes them."""
    i = cuda.grid(1)
    if i < count:
        spots.x[i], spots.y[i], spots.z[i] = (
            clusters.position[i, 0],
            clusters.position[i, 1],
            clusters.position[i, 2],
        )
        spots.variance_r[i], spots.variance_z[i] = clusters.variance[i, 0], clusters.variance[i, 1]
        spots.layer[i] = layer_of.values[clusters.module[i]]


@kernel
def widen(count: int, grid: LayerGrid, across: KernelArray, along: KernelArray) -> None:
    """Widen the search of each layer to what its strips need."""
    k = cuda.grid(1)
    if k < count:
        grid.variance_r[k] = max(grid.variance_r[k], across.values[k])
        grid.variance_z[k] = max(grid.variance_z[k], along.values[k])


@kernel
def gather_hits(
    count: int,
    order: KernelArray,
    clusters: ClusterArrays,
    spots: Spots,
    places: Places,
    grid: LayerGrid,
    hits: HitArrays,
    place: KernelArray,
) -> None:
    """Write the hits in the order of the grid."""
    k = cuda.grid(1)
    if k < count:
        i = order.values[k]
        place_hit(k, i, clusters, spots.layer[i], places.radius[i], places.azimuth[i], grid, hits)
        place.values[i] = k


@kernel
def follow_each(
    count: int,
    starts: StartArrays,
    place: KernelArray,
    hits: HitArrays,
    detector: DetectorArrays,
    grid: LayerGrid,
    stack: SurfaceStack,
    field: ConstantField | MappedField,
    cuts: FindingCuts,
    spare: KernelArray,
    tracks: TrackArrays,
    kept: KernelArray,
) -> None:
    """Follow each seed, and mark those that become a track."""
    k = cuda.grid(1)
    if k < count:
        scratch = TrackScratch(
            cuda.local.array(7, np.float64),
            cuda.local.array((6, 6), np.float64),
            cuda.local.array((6, 6), np.float64),
            cuda.local.array((4, 6), np.float64),
            cuda.local.array(13, np.float64),
            cuda.local.array(13, np.float64),
            cuda.local.array(2, np.float64),
            detector.surface_of,
            cuda.local.array(3, np.int32),
            cuda.local.array((BRANCHES_MOST, 2), np.int32),
            cuda.local.array(BRANCHES_MOST, np.float64),
        )
        seed = cuda.local.array(3, np.int32)
        for axis in range(3):
            seed[axis] = place.values[starts.clusters[k, axis]]
        second = starts.second[k]
        if second >= 0:
            second = place.values[second]
        own_room = np.uintp(k) if cuts.branches_max > 1 else np.uintp(0)
        follow_branches(
            k, k, seed, second, starts.states[k], starts.spread[k], hits, detector.frames, grid, stack, field, cuts, scratch, spare.values[own_room], tracks
        )  # fmt: skip
        kept.values[k] = 1 if tracks.size[k] >= cuts.hits_min + tracks.holes[k] else 0


@kernel
def gather_tracks(count: int, rows: KernelArray, tracks: TrackArrays, kept: TrackArrays) -> None:
    """Write the tracks that are kept one after the other."""
    n = cuda.grid(1)
    if n < count:
        k = rows.values[n]
        kept.steps[n], kept.size[n], kept.holes[n] = tracks.steps[k], tracks.size[k], tracks.holes[k]
        kept.chi2[n], kept.seed[n] = tracks.chi2[k], tracks.seed[k]
        for i in range(tracks.steps[k]):
            kept.way[n, i] = tracks.way[k, i]
        for i in range(7):
            kept.state[n, i] = tracks.state[k, i]
        for i in range(6):
            for j in range(6):
                kept.covariance[n, i, j] = tracks.covariance[k, i, j]


@kernel
def fit_each(
    count: int,
    chosen: KernelArray,
    tracks: TrackArrays,
    hits: HitArrays,
    detector: DetectorArrays,
    grid: LayerGrid,
    stack: SurfaceStack,
    field: ConstantField | MappedField,
    cuts: FindingCuts,
    fits: FitArrays,
) -> None:
    """Fit each track that was chosen."""
    n = cuda.grid(1)
    if n < count:
        scratch = TrackScratch(
            cuda.local.array(7, np.float64),
            cuda.local.array((6, 6), np.float64),
            cuda.local.array((6, 6), np.float64),
            cuda.local.array((4, 6), np.float64),
            cuda.local.array(13, np.float64),
            cuda.local.array(13, np.float64),
            cuda.local.array(2, np.float64),
            detector.surface_of,
            cuda.local.array(3, np.int32),
            cuda.local.array((BRANCHES_MOST, 2), np.int32),
            cuda.local.array(BRANCHES_MOST, np.float64),
        )
        k = np.uintp(chosen.values[n])
        fit_track(
            n, k, tracks, hits, detector.frames, detector.cells, grid, stack, field, cuts, scratch, fits
        )


@kernel
def name_clusters(
    count: int, chosen: KernelArray, tracks: TrackArrays, order: KernelArray, fits: FitArrays, ways: FoundWays
) -> None:
    """Write the ways of the chosen tracks with rows of clusters instead of hits."""
    n = cuda.grid(1)
    if n < count:
        k = chosen.values[n]
        ways.steps[n], ways.holes[n] = tracks.steps[k], tracks.holes[k]
        for i in range(tracks.steps[k]):
            hit = tracks.way[k, i]
            ways.way[n, i] = order.values[hit] if hit >= 0 else hit
        for i in range(fits.inner_count[n]):
            fits.inner[n, i] = order.values[fits.inner[n, i]]
