"""What the stages of the reconstruction hand on: arrays of the host, or of the device that a stage runs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tamis.tracking.kernels.types import (
    CellArrays,
    ClusterArrays,
    FitArrays,
    HitArrays,
    LayerGrid,
    TrackArrays,
)

STAGES = ("clusters", "space points", "seeding", "parameters", "finding", "ambiguity", "fit")


@dataclass(frozen=True)
class SpacePoints:
    """Points in space, (n,) each; `layer` is the number of the seeding layer, `cluster` the row of the cluster.

    A point of two strips has the row of the other cluster in `second` (-1 for pixels). Where it is depends on the curvature w of the
    track, as a straight line from the beam spot is assumed: x + bend_x w, y + bend_y w, z + bend_z w.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    variance_r: np.ndarray
    variance_z: np.ndarray
    layer: np.ndarray
    cluster: np.ndarray
    second: np.ndarray
    bend_x: np.ndarray
    bend_y: np.ndarray
    bend_z: np.ndarray

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.x)


@dataclass(frozen=True)
class TrackSeeds:
    """Triplets of space points, from inside out, and their weight: the larger the better."""

    points: np.ndarray  # (n, 3)
    weight: np.ndarray

    def __len__(self) -> int:
        """Return the number of seeds."""
        return len(self.weight)


@dataclass(frozen=True)
class TrackStarts:
    """Seeds with their clusters and with the state at the first of them."""

    clusters: np.ndarray  # (n, 3)
    second: np.ndarray  # the other cluster of the first point, -1 for pixels
    states: np.ndarray  # (n, 7)
    spread: (
        np.ndarray
    )  # (n, 3): variances of r, z and dz / ds by which the state of strips is worse than that of pixels
    weight: np.ndarray

    def __len__(self) -> int:
        """Return the number of seeds."""
        return len(self.weight)


@dataclass(frozen=True)
class SortedHits:
    """The clusters of an event in the cells of a grid: `order` has the clusters in their new order, `place` the inverse."""

    order: np.ndarray
    place: np.ndarray
    hits: HitArrays
    grid: LayerGrid


@dataclass(frozen=True)
class TrackCandidates:
    """Tracks before ambiguities are resolved, and the hits that they are of."""

    tracks: TrackArrays
    found: SortedHits


@dataclass(frozen=True)
class ChosenTracks:
    """Candidates, and the rows of those that are kept."""

    candidates: TrackCandidates
    rows: np.ndarray


@dataclass(frozen=True)
class FittedTracks:
    """Fitted tracks with their ways, as rows of clusters; below 0 where a way crosses a surface without a hit."""

    fits: FitArrays
    way: np.ndarray  # (n, most)
    steps: np.ndarray
    holes: np.ndarray


class StageKernels(Protocol):
    """The stages on one kind of device."""

    device: str

    def clusters(self, cells: CellArrays) -> ClusterArrays:
        """Return the clusters of an event."""

    def space_points(self, clusters: ClusterArrays) -> SpacePoints:
        """Return the space points on the layers of the seeding."""

    def seeding(self, points: SpacePoints) -> TrackSeeds:
        """Return triplets of space points."""

    def parameters(self, seeds: TrackSeeds, points: SpacePoints, clusters: ClusterArrays) -> TrackStarts:
        """Return the seeds with their states."""

    def finding(self, starts: TrackStarts, clusters: ClusterArrays) -> TrackCandidates:
        """Return the tracks that the seeds are the beginning of."""

    def ambiguity(self, candidates: TrackCandidates) -> ChosenTracks:
        """Return which tracks to keep of those that share hits."""

    def fit(self, chosen: ChosenTracks) -> FittedTracks:
        """Return the parameters of the tracks at the beam."""
