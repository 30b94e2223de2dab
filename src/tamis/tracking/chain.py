"""The whole reconstruction of an event: cells, clusters, space points, seeds, parameters, tracks, ambiguities, fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from tamis._base import DataError, now_ns
from tamis.events.detector import DetectorLayer, SiliconCells, TrackingDetector
from tamis.tracking.ambiguity import resolve
from tamis.tracking.clusters import find_clusters, frames_of
from tamis.tracking.counters import HardwareCounters
from tamis.tracking.finding import FindingSettings, TrackFinder
from tamis.tracking.kernels.parameters import estimate_parameters
from tamis.tracking.kernels.space_points import make_points
from tamis.tracking.kernels.types import CellArrays, ClusterArrays, FitArrays, PointArrays, TrackArrays
from tamis.tracking.seeding import (
    PIXEL_PITCH_MM,
    SeedFinder,
    SeedingSettings,
    SpacePoints,
    TrackSeeds,
    seeding_layers,
)

Result = TypeVar("Result")
STAGES = ("clusters", "space points", "seeding", "parameters", "finding", "ambiguity", "fit")


@dataclass(frozen=True)
class Tracks:
    """Reconstructed tracks of an event."""

    parameters: (
        np.ndarray
    )  # (tracks, 5): d0, z0 in mm, phi, theta, q / p in 1 / GeV, at the point nearest to the beam
    covariance: np.ndarray  # (tracks, 5, 5)
    chi2: np.ndarray
    holes: np.ndarray
    hits: np.ndarray  # clusters of all tracks, one track after the other, each from inside out
    counts: np.ndarray  # of each track
    first_cell: np.ndarray  # of each cluster of the event

    def __len__(self) -> int:
        """Return the number of tracks."""
        return len(self.parameters)


@dataclass(frozen=True)
class StageObjects:
    """What the stages of one event wrote."""

    cells: SiliconCells
    clusters: ClusterArrays
    points: SpacePoints
    seeds: TrackSeeds
    states: np.ndarray  # (seeds, 7): position in mm, direction, q / p in 1 / GeV, at the first hit
    found: TrackArrays
    chosen: np.ndarray  # of the found tracks
    tracks: Tracks


@dataclass
class Reconstruction:
    """Reconstructs events of one detector; `nanoseconds` has the time of each stage of the last one, `ticks` its instructions and clocks."""

    detector: TrackingDetector
    layers: tuple[DetectorLayer, ...] | None = (
        None  # to seed on; default: those of the generic detector's pixels, or all pixel-like ones
    )
    seeding: SeedingSettings = field(default_factory=SeedingSettings)
    finding: FindingSettings = field(default_factory=FindingSettings)
    nanoseconds: dict[str, int] = field(default_factory=dict)
    counters: HardwareCounters | None = None
    ticks: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Prepare detector and kernels."""
        modules = self.detector.modules
        self._frames = frames_of(modules)
        self._layer_of = np.full(len(modules), -1, np.int32)
        layers = seeding_layers(self.detector) if self.layers is None else self.layers
        if not layers:
            raise DataError(
                f"the detector {self.detector.name} has no layer to seed on: pixels below a radius of {self.seeding.radius[1]:g} mm and within "
                f"|z| of {self.seeding.z_max:g} mm, with a pitch below {PIXEL_PITCH_MM:g} mm; name layers of your own (Reconstruction(..., layers=...))"
            )
        for number, layer in enumerate(layers):
            self._layer_of[layer.rows] = number
        self.seeds = SeedFinder(layers, self.detector.field, self.seeding)
        self._finder = TrackFinder(self.detector, self.finding)

    def __call__(self, cells: SiliconCells) -> Tracks:
        """Return the tracks of an event."""
        return self.stages(cells).tracks

    def stages(self, cells: SiliconCells) -> StageObjects:
        """Return the tracks of an event and what the stages before wrote; the states of found tracks are used up by the fit."""
        self.nanoseconds.clear()
        self.ticks.clear()
        clusters = self._timed("clusters", lambda: self.clusters(cells))
        points = self._timed("space points", lambda: self.space_points(clusters))
        seeds = self._timed("seeding", lambda: self.seeds(points))
        finder = self._finder
        found = self._timed("finding", lambda: finder.sort(clusters))
        rows, states = found.place[points.cluster[seeds.points]], np.empty((len(seeds), 7))
        self._timed("parameters", lambda: estimate_parameters(rows, found.hits.position, states))
        tracks = self._timed("finding", lambda: finder.find(rows, states, seeds.weight, found))
        chosen = self._timed("ambiguity", lambda: resolve(tracks, len(found.order)))
        fits = self._timed("fit", lambda: finder.fit(tracks, chosen, found))
        hits, counts = _hits_in_order(tracks, chosen, fits)
        fitted = Tracks(
            fits.parameters,
            fits.covariance,
            fits.chi2,
            tracks.holes[chosen],
            found.order[hits],
            counts,
            clusters.first,
        )
        return StageObjects(cells, clusters, points, seeds, states, tracks, chosen, fitted)

    def clusters(self, cells: SiliconCells) -> ClusterArrays:
        """Return the clusters of an event."""
        return find_clusters(CellArrays(cells.module, cells.u, cells.v, cells.charge), self._frames)

    def space_points(self, clusters: ClusterArrays) -> SpacePoints:
        """Return the space points on the layers of the seeding."""
        count = len(clusters.module)
        floats = (np.empty(count, np.float32) for _ in PointArrays._fields[:-1])
        arrays = PointArrays._make([*floats, np.empty(count, np.int32)])
        cluster_of = np.empty(count, np.int32)
        found = make_points(clusters, self._frames, self._layer_of, arrays, cluster_of)
        x, y, z, _, _, variance_r, variance_z, layer = (array[:found] for array in arrays)
        return SpacePoints(x, y, z, variance_r, variance_z, layer, cluster_of[:found])

    def _timed(self, stage: str, work: Callable[[], Result]) -> Result:
        before = None if self.counters is None else self.counters.read()
        start = now_ns()
        result = work()
        self.nanoseconds[stage] = self.nanoseconds.get(stage, 0) + now_ns() - start
        if self.counters is not None and before is not None:
            instructions, clocks = self.ticks.get(stage, (0, 0))
            after = self.counters.read()
            self.ticks[stage] = instructions + after[0] - before[0], clocks + after[1] - before[1]
        return result


def _hits_in_order(tracks: TrackArrays, chosen: np.ndarray, fits: FitArrays) -> tuple[np.ndarray, np.ndarray]:
    """Return the hits of tracks, those found inside the first one of the seed first, and how many each has."""
    inner, way = fits.inner[:, ::-1], tracks.way[chosen]
    width = inner.shape[1]
    is_inner = np.arange(width)[None] >= width - fits.inner_count[:, None]
    is_hit = (np.arange(way.shape[1])[None] < tracks.steps[chosen][:, None]) & (way >= 0)
    kept = np.concatenate([is_inner, is_hit], axis=1)
    result: np.ndarray = np.concatenate([inner, way], axis=1)[kept]
    return result, kept.sum(axis=1)
