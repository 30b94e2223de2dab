"""The stages on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from tamis._base import UsageError
from tamis.events.detector import DetectorLayer, TrackingDetector
from tamis.tracking.ambiguity import SHARED_MOST
from tamis.tracking.clusters import frames_of
from tamis.tracking.cuda import ambiguity, cells, finding, seeding
from tamis.tracking.cuda.device import KernelArray, check_device, empty, filled, launch, to_device, to_host
from tamis.tracking.cuda.grid import Spots, sort_spots
from tamis.tracking.cuda.scan import exclusive_sums, total_of
from tamis.tracking.finding import INNER_MOST, PRECISIONS, STEPS_MOST, FindingSettings, TrackFinder
from tamis.tracking.kernels.types import (
    CandidateArrays,
    CellArrays,
    ClusterArrays,
    DoubletArrays,
    FitArrays,
    HitArrays,
    LayerGrid,
    PointArrays,
    SpacePointArrays,
    StartArrays,
    TrackArrays,
    TripletArrays,
)
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
    SortedHits,
    SpacePoints,
    TrackCandidates,
    TrackSeeds,
    TrackStarts,
)


class CudaStages:
    """Runs the stages on arrays of the device; the detector is copied there once."""

    device = "cuda"

    def __init__(
        self,
        detector: TrackingDetector,
        layers: tuple[DetectorLayer, ...],
        seeding_settings: SeedingSettings,
        finding_settings: FindingSettings,
    ) -> None:
        """Copy the detector."""
        check_device()
        if finding_settings.precision != PRECISIONS[0]:
            raise UsageError(
                f"a GPU finds and fits tracks in {PRECISIONS[0]}: leave out --precision {finding_settings.precision}, or its devices"
            )
        self._seeds = SeedFinder(layers, detector.field, seeding_settings, largest_bends(detector, layers))
        self._finder = TrackFinder(detector, finding_settings)
        self._frames = to_device(frames_of(detector.modules))
        self._seeding_modules = cells.SeedingModules(
            to_device(layer_numbers(detector, layers)), to_device(strip_partners(detector))
        )
        self._curvature_max = largest_curvature(seeding_settings, detector.field)
        self._layer_of = KernelArray(to_device(self._finder.layer_of))
        self._widest = [KernelArray(to_device(one)) for one in self._finder.widest]
        self._links = to_device(self._seeds.links)
        self._stack = to_device(self._finder.stack)
        self._field = to_device(self._finder.field)
        self._detector = finding.DetectorArrays(
            to_device(self._finder.frames),
            to_device(self._finder.cells),
            to_device(self._finder.surface_of),
        )
        self._grids: dict[tuple[str, int, int], LayerGrid] = {}

    def clusters(self, event: CellArrays) -> ClusterArrays:
        """Return the clusters of an event."""
        count = len(event.module)
        flags = empty(count, np.int32)
        launch(cells.mark_modules, count, event, KernelArray(flags))
        places = exclusive_sums(flags)
        modules = total_of(places)
        begins = filled(modules + 1, np.int32, count)
        launch(cells.list_marked, count, KernelArray(flags), KernelArray(places), KernelArray(begins))
        parent, label, found = empty(count, np.int32), empty(count, np.int32), empty(modules, np.int32)
        launch(
            cells.join_modules, modules, KernelArray(begins), event, KernelArray(parent), KernelArray(found)
        )
        numbers = exclusive_sums(found)
        clusters = _clusters(total_of(numbers))
        launch(
            cells.sum_modules, modules, KernelArray(begins), KernelArray(numbers), event, KernelArray(parent), KernelArray(label), self._frames, clusters
        )  # fmt: skip
        return clusters

    def space_points(self, clusters: ClusterArrays) -> SpacePoints:
        """Return the space points on the layers of the seeding."""
        count, modules, curvature = len(clusters.module), self._seeding_modules, self._curvature_max
        numbers = KernelArray(empty(count, np.int32))
        launch(cells.count_points, count, clusters, self._frames, modules, curvature, _points(0), numbers)
        places = exclusive_sums(numbers.values)
        points = _points(total_of(places))
        launch(
            cells.write_points, count, clusters, self._frames, modules, curvature, KernelArray(places), points
        )
        return SpacePoints(**points._asdict())

    def seeding(self, points: SpacePoints) -> TrackSeeds:
        """Return triplets of space points."""
        count, cuts, links = len(points), self._seeds.cuts, self._links
        arrays = SpacePointArrays(*(getattr(points, name) for name in SpacePointArrays._fields))
        spots = Spots(*(getattr(points, name) for name in Spots._fields))
        grid, places, order = sort_spots(spots, self._grid("seeding", self._seeds.empty_grid(count)))
        bends = empty(count if cuts.stereo else 0, np.float32)
        columns = (empty(count, np.float32) for _ in range(7))
        ordered = PointArrays._make([*columns, bends, empty(count, np.int32)])
        launch(seeding.gather_points, count, KernelArray(order), arrays, places, ordered)
        flags = empty(count, np.int32)
        low, high = self._seeds.settings.middle_radius
        launch(seeding.mark_middles, count, ordered, links, low, high, KernelArray(flags))
        marked = exclusive_sums(flags)
        total = total_of(marked)
        middles = KernelArray(empty(total, np.int32))
        launch(cells.list_marked, count, KernelArray(flags), KernelArray(marked), middles)

        numbers = KernelArray(empty(total, np.int32))
        launch(seeding.count_pairs, total, middles, ordered, grid, links, cuts, _pairs(0), numbers)
        pair_begins = exclusive_sums(numbers.values)
        pairs = _pairs(total_of(pair_begins))
        launch(
            seeding.fill_pairs, total, middles, ordered, grid, links, cuts, KernelArray(pair_begins), pairs, _candidates(0), numbers
        )  # fmt: skip
        triplet_begins = exclusive_sums(numbers.values)
        shape = total, cuts.most
        best = TripletArrays(
            empty(shape, np.int32), empty(shape, np.int32), empty(shape, np.float32), empty(total, np.int32)
        )
        launch(
            seeding.fill_triplets, total, middles, ordered, grid, links, cuts, KernelArray(pair_begins), pairs, KernelArray(triplet_begins),
            _candidates(total_of(triplet_begins)), best,
        )  # fmt: skip
        seed_begins = exclusive_sums(best.kept)
        seeds = seeding.SeedArrays(
            empty((total_of(seed_begins), 3), np.int32), empty(total_of(seed_begins), np.float32)
        )
        launch(
            seeding.collect_seeds, total, middles, best, KernelArray(seed_begins), KernelArray(order), seeds
        )
        return TrackSeeds(seeds.points, seeds.weight)

    def parameters(self, seeds: TrackSeeds, points: SpacePoints, clusters: ClusterArrays) -> TrackStarts:
        """Return the seeds with their states."""
        count = len(seeds)
        arrays = SpacePointArrays(*(getattr(points, name) for name in SpacePointArrays._fields))
        starts = StartArrays(
            empty((count, 3), np.int32), empty(count, np.int32), empty((count, 7), np.float64), empty((count, 3), np.float64)
        )  # fmt: skip
        of_seeds = seeding.SeedArrays(seeds.points, seeds.weight)
        position = KernelArray(clusters.position)
        launch(seeding.start_seeds, count, of_seeds, arrays, position, self._field, starts)
        return TrackStarts(*starts, seeds.weight)

    def finding(self, starts: TrackStarts, clusters: ClusterArrays) -> TrackCandidates:
        """Return the tracks that the seeds are the beginning of: also several of one particle, since all are followed at once."""
        found, count = self._sorted(clusters), len(starts)
        tracks, flags = _tracks(count), empty(count, np.int32)
        cuts = self._finder.cuts
        spare = KernelArray(empty((count if cuts.branches_max > 1 else 1, STEPS_MOST), np.int32))
        begun = StartArrays(starts.clusters, starts.second, starts.states, starts.spread)
        launch(
            finding.follow_each, count, begun, KernelArray(found.place), found.hits, self._detector,
            found.grid, self._stack, self._field, cuts, spare, tracks, KernelArray(flags),
        )  # fmt: skip
        places = exclusive_sums(flags)
        total = total_of(places)
        rows, kept = KernelArray(empty(total, np.int32)), _tracks(total)
        launch(cells.list_marked, count, KernelArray(flags), KernelArray(places), rows)
        launch(finding.gather_tracks, total, rows, tracks, kept)
        return TrackCandidates(kept, found)

    def ambiguity(self, candidates: TrackCandidates) -> ChosenTracks:
        """Return which tracks to keep of those that share hits."""
        tracks, hits = candidates.tracks, len(candidates.found.order)
        count = len(tracks.steps)
        owners = filled(hits, np.int32)
        launch(ambiguity.count_tracks, count, tracks, KernelArray(owners))
        begins = exclusive_sums(owners)
        lists = KernelArray(empty(total_of(begins), np.int32))
        launch(
            ambiguity.list_tracks,
            count,
            tracks,
            KernelArray(begins),
            KernelArray(filled(hits, np.int32)),
            lists,
        )
        shared = ambiguity.OwnerArrays(owners, begins, lists.values)
        standing = ambiguity.TrackStanding(
            filled(count, np.int32, 1),
            empty(count, np.int32),
            empty(count, np.float64),
            empty(count, np.int32),
        )
        while True:
            marked = KernelArray(filled(1, np.int32))
            launch(ambiguity.count_shared, count, tracks, shared, standing)
            launch(ambiguity.mark_worst, count, tracks, shared, SHARED_MOST, standing, marked)
            launch(ambiguity.drop_marked, count, tracks, shared, standing)
            if not int(to_host(marked.values)[0]):
                break
        places = exclusive_sums(standing.alive)
        rows = KernelArray(empty(total_of(places), np.int32))
        launch(cells.list_marked, count, KernelArray(standing.alive), KernelArray(places), rows)
        return ChosenTracks(candidates, rows.values)

    def fit(self, chosen: ChosenTracks) -> FittedTracks:
        """Return the parameters of the tracks at the beam."""
        tracks, found, count = chosen.candidates.tracks, chosen.candidates.found, len(chosen.rows)
        rows = KernelArray(chosen.rows)
        fits = FitArrays(
            empty((count, 5), np.float64),
            empty((count, 5, 5), np.float64),
            empty(count, np.float64),
            empty((count, INNER_MOST), np.int32),
            empty(count, np.int32),
        )
        launch(
            finding.fit_each, count, rows, tracks, found.hits, self._detector, found.grid, self._stack, self._field, self._finder.cuts, fits
        )  # fmt: skip
        ways = finding.FoundWays(
            empty((count, STEPS_MOST), np.int32), empty(count, np.int32), empty(count, np.int32)
        )
        launch(finding.name_clusters, count, rows, tracks, KernelArray(found.order), fits, ways)
        return FittedTracks(fits, ways.way, ways.steps, ways.holes)

    def _sorted(self, clusters: ClusterArrays) -> SortedHits:
        count = len(clusters.module)
        spots = Spots._make([*(empty(count, np.float32) for _ in range(5)), empty(count, np.int32)])
        launch(finding.spot_hits, count, clusters, self._layer_of, spots)
        grid, places, order = sort_spots(spots, self._grid("finding", self._finder.empty_grid(count)))
        launch(finding.widen, len(self._finder.kind), grid, *self._widest)
        module, layer = (empty(count, np.int32) for _ in range(2))
        along, phi = (empty(count, np.float32) for _ in range(2))
        position, variance = empty((count, 3), np.float64), empty((count, 2), np.float64)
        hits = HitArrays(position, variance, module, layer, along, phi)
        place = KernelArray(empty(count, np.int32))
        launch(finding.gather_hits, count, KernelArray(order), clusters, spots, places, grid, hits, place)
        return SortedHits(order, place.values, hits, grid)

    def _grid(self, stage: str, grid: LayerGrid) -> LayerGrid:
        """Return an empty grid on the device; those of each size are copied once."""
        key = stage, grid.rows, grid.columns
        if key not in self._grids:
            self._grids[key] = to_device(grid._replace(begins=grid.begins[:0]))
        return self._grids[key]


def _points(count: int) -> SpacePointArrays:
    floats, bends = ([make(count, np.float32) for _ in range(n)] for make, n in ((empty, 5), (filled, 3)))
    return SpacePointArrays._make([*floats, *bends, *(empty(count, np.int32) for _ in range(3))])


def _clusters(count: int) -> ClusterArrays:
    return ClusterArrays(
        empty(count, np.int32),
        empty((count, 2), np.float32),
        empty((count, 2), np.float32),
        empty((count, 3), np.float64),
        empty(count, np.int32),
        empty(count, np.int32),
        empty((count, 4), np.float32),
    )


def _tracks(count: int) -> TrackArrays:
    steps, size, holes, seed = (empty(count, np.int32) for _ in range(4))
    return TrackArrays(
        empty((count, STEPS_MOST), np.int32),
        steps,
        size,
        holes,
        empty(count, np.float64),
        seed,
        empty((count, 7), np.float64),
        empty((count, 6, 6), np.float64),
    )


def _pairs(count: int) -> DoubletArrays:
    return DoubletArrays(empty(count, np.int32), *(empty(count, np.float32) for _ in range(5)))


def _candidates(count: int) -> CandidateArrays:
    integers: list[Any] = [empty(count, np.int32) for _ in range(2)]
    return CandidateArrays(*integers, *(empty(count, np.float32) for _ in range(3)))
