"""The stages on one core of the CPU."""

from __future__ import annotations

import numpy as np

from tamis.events.detector import DetectorLayer, TrackingDetector
from tamis.tracking.ambiguity import resolve
from tamis.tracking.clusters import find_clusters, frames_of
from tamis.tracking.finding import FindingSettings, TrackFinder
from tamis.tracking.kernels.parameters import estimate_parameters
from tamis.tracking.kernels.space_points import make_points
from tamis.tracking.kernels.types import CellArrays, ClusterArrays, SpacePointArrays, StartArrays
from tamis.tracking.seeding import (
    SeedFinder,
    SeedingSettings,
    largest_bends,
    largest_curvature,
    layer_numbers,
    strip_partners,
)
from tamis.tracking.steps import (
    ChosenTracks,
    FittedTracks,
    SpacePoints,
    TrackCandidates,
    TrackSeeds,
    TrackStarts,
)


class CpuStages:
    """Runs the stages one after the other on arrays of the host."""

    device = "cpu"

    def __init__(
        self,
        detector: TrackingDetector,
        layers: tuple[DetectorLayer, ...],
        seeding: SeedingSettings,
        finding: FindingSettings,
    ) -> None:
        """Prepare detector and kernels."""
        self._frames = frames_of(detector.modules)
        self._layer_of = layer_numbers(detector, layers)
        self._partner_of = strip_partners(detector)
        self._curvature_max = largest_curvature(seeding, detector.field)
        self._seeds = SeedFinder(layers, detector.field, seeding, largest_bends(detector, layers))
        self._finder = TrackFinder(detector, finding)

    def clusters(self, cells: CellArrays) -> ClusterArrays:
        """Return the clusters of an event."""
        return find_clusters(cells, self._frames)

    def space_points(self, clusters: ClusterArrays) -> SpacePoints:
        """Return the space points on the layers of the seeding."""
        found, room = len(clusters.module), -1
        while room < found:  # pairs of strips may have more points than there are clusters
            room = found
            floats, bends = np.empty((5, room), np.float32), np.zeros((3, room), np.float32)
            arrays = SpacePointArrays._make([*floats, *bends, *np.empty((3, room), np.int32)])
            found = make_points(
                clusters, self._frames, self._layer_of, self._partner_of, self._curvature_max, arrays
            )
        return SpacePoints(**{name: array[:found] for name, array in arrays._asdict().items()})

    def seeding(self, points: SpacePoints) -> TrackSeeds:
        """Return triplets of space points."""
        return self._seeds(points)

    def parameters(self, seeds: TrackSeeds, points: SpacePoints, clusters: ClusterArrays) -> TrackStarts:
        """Return the seeds with their states."""
        count = len(seeds)
        starts = StartArrays(
            np.empty((count, 3), np.int32),
            np.empty(count, np.int32),
            np.empty((count, 7)),
            np.empty((count, 3)),
        )
        arrays = SpacePointArrays(*(getattr(points, name) for name in SpacePointArrays._fields))
        estimate_parameters(seeds.points, arrays, clusters.position, self._finder.field, starts)
        return TrackStarts(*starts, seeds.weight)

    def finding(self, starts: TrackStarts, clusters: ClusterArrays) -> TrackCandidates:
        """Return the tracks that the seeds are the beginning of."""
        found = self._finder.sort(clusters)
        return TrackCandidates(self._finder.find(starts, found), found)

    def ambiguity(self, candidates: TrackCandidates) -> ChosenTracks:
        """Return which tracks to keep of those that share hits."""
        return ChosenTracks(candidates, resolve(candidates.tracks, len(candidates.found.order)))

    def fit(self, chosen: ChosenTracks) -> FittedTracks:
        """Return the parameters of the tracks at the beam."""
        tracks, found = chosen.candidates.tracks, chosen.candidates.found
        fits = self._finder.fit(tracks, chosen.rows, found)
        way, inner = tracks.way[chosen.rows], fits.inner
        within = np.arange(inner.shape[1]) < fits.inner_count[:, None]
        inner[within] = found.order[inner[within]]
        steps = tracks.steps[chosen.rows]
        is_hit = (np.arange(way.shape[1]) < steps[:, None]) & (way >= 0)
        way[is_hit] = found.order[way[is_hit]]
        return FittedTracks(fits, way, steps, tracks.holes[chosen.rows])
