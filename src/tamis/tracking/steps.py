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
    """Points in space, (n,) each; `layer` is the number of the seeding layer, `cluster` the row of the cluster."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    variance_r: np.ndarray
    variance_z: np.ndarray
    layer: np.ndarray
    cluster: np.ndarray

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
    states: np.ndarray  # (n, 7)
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

    def fit(self, chosen: ChosenTracks) -> FitArrays:
        """Return the parameters of the tracks at the beam."""
