"""Track finding and fitting: from seeds to tracks with parameters at the beam."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tamis._base import UsageError
from tamis.events.detector import BARREL, TrackingDetector
from tamis.events.detector.strips import is_strip, strip_axis
from tamis.tracking.kernels.finding import BRANCHES_MOST, follow_seeds
from tamis.tracking.kernels.fitting import fit_tracks
from tamis.tracking.kernels.grid import largest_on_layers, place_hits, sort_points
from tamis.tracking.kernels.types import (
    ClusterArrays,
    ConstantField,
    FindingCuts,
    FitArrays,
    HitArrays,
    LayerGrid,
    MappedField,
    SurfaceStack,
    TrackArrays,
    TrackScratch,
)
from tamis.tracking.seeding import GEV_PER_TESLA_MM
from tamis.tracking.steps import SortedHits, TrackStarts

HIT_ROWS, HIT_COLUMNS = 32, 256  # of the grid on each layer, for events of HITS_FULL hits or more
HITS_FULL = 20_000
PRECISIONS = ("float64", "float32")
STEPS_MOST = 64  # on the way of a track
INNER_MOST = 8  # hits that are found inside the first one of a seed
OWNERS_MOST = 2  # tracks of a hit that are remembered, to pass over seeds that are on one of them


@dataclass(frozen=True)
class FindingSettings:
    """Cuts of the track finding; momenta in GeV."""

    chi2_max: float = 25.0  # of a hit
    holes_max: int = 2
    early_holes_max: int = 1  # while there are few hits
    hits_min: int = 7
    pt_min: float = 0.3
    window: float = 5.0  # in which hits are looked for, in standard deviations
    branches_max: int = 1  # of each seed, where several hits of a module fit; the best is kept
    precision: str = "float64"  # of hits, states, covariances and the geometry; one of PRECISIONS

    def __post_init__(self) -> None:
        """Check what has limits."""
        if not 1 <= self.branches_max <= BRANCHES_MOST:
            raise UsageError(
                f"a seed cannot have {self.branches_max} branches; it must be 1 to {BRANCHES_MOST}"
            )
        if self.precision not in PRECISIONS:
            raise UsageError(f"the precision is {self.precision}; it must be {' or '.join(PRECISIONS)}")


class TrackFinder:
    """Follows seeds through the layers of a detector, and fits what it finds."""

    def __init__(self, detector: TrackingDetector, settings: FindingSettings | None = None) -> None:
        """Prepare the layers."""
        chosen = settings or FindingSettings()
        modules, layers = detector.modules, detector.layers
        self.real = real = np.dtype(chosen.precision)
        self.frames = np.ascontiguousarray(modules.axes.reshape(len(modules), 9), real)
        self.cells = np.concatenate([modules.pitch, modules.thickness[:, None] / modules.pitch], axis=1)
        self.cells = self.cells.astype(real)
        self.layer_of = np.empty(len(modules), np.int32)
        for number, layer in enumerate(layers):
            self.layer_of[layer.rows] = number
        self.kind = np.array([layer.kind for layer in layers], np.int32)
        self.along = np.array([layer.z if layer.kind == BARREL else layer.r for layer in layers], np.float32)
        self.widest = (2 * strip_reach(detector) / chosen.window) ** 2
        self.stack = surface_stack(detector, real)
        self.surface_of = np.empty(len(layers), np.int32)
        active = np.flatnonzero(self.stack.layer >= 0)
        self.surface_of[self.stack.layer[active]] = active
        self.field = field_of(detector)
        self.cuts = FindingCuts(
            GEV_PER_TESLA_MM * detector.field, chosen.chi2_max, chosen.holes_max, chosen.early_holes_max, chosen.pt_min, chosen.window,
            chosen.hits_min, detector.energy_loss, chosen.branches_max,
        )  # fmt: skip

    def empty_grid(self, count: int) -> LayerGrid:
        """Return the grid for an event of `count` hits, with nothing in it."""
        layers = len(self.kind)
        share = min(1.0, math.sqrt((count + 1) / HITS_FULL))
        rows, columns = max(1, round(HIT_ROWS * share)), max(8, round(HIT_COLUMNS * share))
        empty = np.zeros(0, np.float32)
        return LayerGrid(
            self.kind, empty, empty, self.along[:, 0].copy(), rows / (self.along[:, 1] - self.along[:, 0]), rows, columns,
            np.float32(columns / (2 * math.pi)), np.zeros(layers * rows * columns + 2, np.int32), np.zeros(layers, np.float32), np.zeros(layers, np.float32),
        )  # fmt: skip

    def sort(self, clusters: ClusterArrays) -> SortedHits:
        """Sort the clusters of an event into the cells of a grid."""
        count = len(clusters.module)
        layer = self.layer_of[clusters.module]
        grid = self.empty_grid(count)
        for axis, largest in enumerate((grid.variance_r, grid.variance_z)):
            largest_on_layers(clusters.variance[:, axis], layer, largest)
            np.maximum(largest, self.widest[axis], out=largest)
        x, y, z = (np.ascontiguousarray(clusters.position[:, axis], np.float32) for axis in range(3))
        cell, order, place = np.empty((3, count), np.int32)
        radius, azimuth = np.empty((2, count), np.float32)
        sort_points(x, y, z, layer, grid, cell, radius, azimuth, order)
        module_of, layer_of = np.empty((2, count), np.int32)
        along, phi = np.empty((2, count), np.float32)
        hits = HitArrays(
            np.empty((count, 3), self.real), np.empty((count, 2), self.real), module_of, layer_of, along, phi
        )
        place_hits(order, clusters, layer, radius, azimuth, grid, hits, place)
        return SortedHits(order, place, hits, grid)

    def find(self, starts: TrackStarts, found: SortedHits) -> TrackArrays:
        """Return the tracks that begin with seeds of three hits, the heaviest first."""
        count = len(starts)
        seeds = found.place[starts.clusters]
        second = np.where(starts.second >= 0, found.place[starts.second], np.int32(-1))
        tracks = TrackArrays(
            np.empty((count + 1, STEPS_MOST), np.int32), np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count, np.int32),
            np.empty(count), np.empty(count, np.int32), np.empty((count, 7), self.real), np.empty((count, 6, 6), self.real),
        )  # fmt: skip
        owners = np.full((len(found.order), OWNERS_MOST), -1, np.int32)
        order = np.argsort(-starts.weight, kind="stable").astype(np.int32)
        total = follow_seeds(
            order,
            seeds,
            second,
            starts.states,
            starts.spread,
            found.hits,
            self.frames,
            found.grid,
            self.stack,
            self.field,
            self.cuts,
            owners,
            self._scratch(),
            tracks,
        )
        return TrackArrays(*(array[:total] for array in tracks))

    def fit(self, tracks: TrackArrays, chosen: np.ndarray, found: SortedHits) -> FitArrays:
        """Fit some tracks from outside in; their states are used up."""
        count = len(chosen)
        fits = FitArrays(
            np.empty((count, 5)),
            np.empty((count, 5, 5)),
            np.empty(count),
            np.empty((count, INNER_MOST), np.int32),
            np.empty(count, np.int32),
        )
        fit_tracks(
            chosen,
            tracks,
            found.hits,
            self.frames,
            self.cells,
            found.grid,
            self.stack,
            self.field,
            self.cuts,
            self._scratch(),
            fits,
        )
        return fits

    def _scratch(self) -> TrackScratch:
        shapes = {
            "state": 7,
            "covariance": (6, 6),
            "work": (6, 6),
            "gain": (4, 6),
            "projection": 13,
            "best": 13,
            "variance": 2,
        }
        return TrackScratch(
            **{name: np.empty(shape, self.real) for name, shape in shapes.items()}, surface_of=self.surface_of,
            choice=np.empty(3, np.int32), rivals=np.empty((BRANCHES_MOST, 2), np.int32), gaps=np.empty(BRANCHES_MOST),
        )  # fmt: skip


def field_of(detector: TrackingDetector) -> ConstantField | MappedField:
    """Return the field of a detector as kernels take it."""
    field_map = detector.field_map
    if field_map is None:
        return ConstantField(detector.field)
    relative = np.ascontiguousarray(field_map.values / detector.field)
    return MappedField(relative, field_map.z_first, 1 / field_map.steps[0], 1 / field_map.steps[1])


def surface_stack(detector: TrackingDetector, real: np.dtype) -> SurfaceStack:
    """Return all surfaces with matter in the order of a way outwards."""
    rows = []
    centre = detector.modules.centre
    for number, layer in enumerate(detector.layers):
        ends = layer.z if layer.kind == BARREL else layer.r
        position, spread = layer.position, (layer.z[1] - layer.z[0]) / 2
        if layer.kind == BARREL:
            position = float(np.hypot(*centre[layer.rows, :2].T).mean())
            spread = max(layer.r[1] - position, position - layer.r[0])
        rows.append(
            (layer.kind, position, *ends, number, float(detector.modules.material[layer.rows].mean()), spread)
        )
    rows += [(one.kind, one.position, *one.extent, -1, one.material, 0.0) for one in detector.passive]
    cylinders = sorted((row for row in rows if row[0] == BARREL), key=lambda row: row[1])
    ahead = sorted((row for row in rows if row[0] != BARREL and row[1] > 0), key=lambda row: row[1])
    behind = sorted((row for row in rows if row[0] != BARREL and row[1] <= 0), key=lambda row: -row[1])
    columns = zip(*(*cylinders, *ahead, *behind), strict=True)
    _, positions, low, high, layers, material, spreads = (np.array(column, real) for column in columns)
    behind_from = len(cylinders) + len(ahead)
    return SurfaceStack(
        positions, low, high, layers.astype(np.int32), material, spreads, len(cylinders), behind_from
    )


def strip_reach(detector: TrackingDetector) -> np.ndarray:
    """Return how far a hit may be from where a track crosses its strip, across each layer and along it, (2, layers) in mm.

    A hit is in the middle of its strip; on layers without strips this is 0, as their cells are short.
    """
    modules, layers = detector.modules, detector.layers
    result = np.zeros((2, len(layers)), np.float32)
    paired = np.zeros(len(modules), bool)
    paired[detector.strip_pairs.first] = paired[detector.strip_pairs.second] = True
    paired |= is_strip(modules) & (modules.cells.min(axis=1) == 1)
    axis, rows = strip_axis(modules), np.arange(len(modules))
    half = modules.pitch[rows, axis] / 2
    ends = modules.first + np.stack([np.zeros_like(modules.pitch), modules.cells * modules.pitch])
    for number, layer in enumerate(layers):
        own = layer.rows[paired[layer.rows]]
        for across in (0, 0.5, 1):
            for middle in (half[own], (ends[1] - ends[0])[own, axis[own]] - half[own]):
                place = ends[0, own] + across * (ends[1] - ends[0])[own]
                place[np.arange(len(own)), axis[own]] = ends[0, own, axis[own]] + middle
                hit = modules.centre[own] + (place[:, :, None] * modules.axes[own, :2]).sum(axis=1)
                for side in (-1, 1):
                    end = hit + side * half[own, None] * modules.axes[own, axis[own]]
                    r = np.hypot(end[:, 0], end[:, 1])
                    if layer.kind == BARREL:
                        along = end[:, 2] - hit[:, 2]
                    else:
                        along = r - np.hypot(hit[:, 0], hit[:, 1])
                    cross = np.arctan2(
                        hit[:, 0] * end[:, 1] - hit[:, 1] * end[:, 0], (hit[:, :2] * end[:, :2]).sum(axis=1)
                    )
                    reach = np.abs(r * cross).max(initial=0), np.abs(along).max(initial=0)
                    result[:, number] = np.maximum(result[:, number], reach)
    return result
