"""The whole reconstruction of an event: cells, clusters, space points, seeds, parameters, tracks, ambiguities, fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from tamis._base import DataError, now_ns
from tamis.events.detector import DetectorLayer, SiliconCells, TrackingDetector
from tamis.tracking.cpu import CpuStages
from tamis.tracking.finding import FindingSettings
from tamis.tracking.kernels.types import CellArrays, ClusterArrays, FitArrays, TrackArrays
from tamis.tracking.seeding import PIXEL_PITCH_MM, SeedingSettings, seeding_layers
from tamis.tracking.steps import SpacePoints, StageKernels, TrackSeeds

Result = TypeVar("Result")


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


@dataclass
class Reconstruction:
    """Reconstructs events of one detector; `nanoseconds` has the time of each stage of the last one."""

    detector: TrackingDetector
    layers: tuple[DetectorLayer, ...] | None = (
        None  # to seed on; default: those of the generic detector's pixels, or all pixel-like ones
    )
    seeding: SeedingSettings = field(default_factory=SeedingSettings)
    finding: FindingSettings = field(default_factory=FindingSettings)
    nanoseconds: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Prepare detector and kernels."""
        layers = seeding_layers(self.detector) if self.layers is None else self.layers
        if not layers:
            raise DataError(
                f"the detector {self.detector.name} has no layer to seed on: pixels below a radius of {self.seeding.radius[1]:g} mm and within "
                f"|z| of {self.seeding.z_max:g} mm, with a pitch below {PIXEL_PITCH_MM:g} mm; name layers of your own (Reconstruction(..., layers=...))"
            )
        self._cpu: StageKernels = CpuStages(self.detector, layers, self.seeding, self.finding)

    def __call__(self, cells: SiliconCells) -> Tracks:
        """Return the tracks of an event."""
        self.nanoseconds.clear()
        on, timed = self._cpu, self._timed
        clusters = timed("clusters", lambda: self.clusters(cells))
        points = timed("space points", lambda: on.space_points(clusters))
        seeds = timed("seeding", lambda: on.seeding(points))
        starts = timed("parameters", lambda: on.parameters(seeds, points, clusters))
        candidates = timed("finding", lambda: on.finding(starts, clusters))
        chosen = timed("ambiguity", lambda: on.ambiguity(candidates))
        fits = timed("fit", lambda: on.fit(chosen))
        tracks = candidates.tracks
        hits, counts = _hits_in_order(tracks, chosen.rows, fits)
        return Tracks(
            fits.parameters,
            fits.covariance,
            fits.chi2,
            tracks.holes[chosen.rows],
            candidates.found.order[hits],
            counts,
            clusters.first,
        )

    def clusters(self, cells: SiliconCells) -> ClusterArrays:
        """Return the clusters of an event."""
        return self._cpu.clusters(CellArrays(cells.module, cells.u, cells.v, cells.charge))

    def space_points(self, clusters: ClusterArrays) -> SpacePoints:
        """Return the space points on the layers of the seeding."""
        return self._cpu.space_points(clusters)

    def seeds(self, points: SpacePoints) -> TrackSeeds:
        """Return the seeds of an event."""
        return self._cpu.seeding(points)

    def _timed(self, stage: str, work: Callable[[], Result]) -> Result:
        start = now_ns()
        result = work()
        self.nanoseconds[stage] = self.nanoseconds.get(stage, 0) + now_ns() - start
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
