"""Track finding: from seeds to tracks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tamis.events.detector import BARREL, TrackingDetector
from tamis.tracking.kernels.finding import follow_seeds
from tamis.tracking.kernels.fitting import fit_tracks
from tamis.tracking.kernels.grid import largest_on_layers, sort_points
from tamis.tracking.kernels.types import FindingCuts, FitArrays, HitArrays, LayerGrid, SurfaceStack, TrackArrays, TrackScratch

GEV_PER_TESLA_MM = 0.299792458e-3
ROWS, COLUMNS = 64, 512
MOST_STEPS = 64


@dataclass(frozen=True)
class FindingSettings:
    """Cuts of the track finding."""

    chi2_max: float = 25.0
    holes_max: int = 2
    early_holes_max: int = 1
    hits_min: int = 7
    pt_min: float = 0.3
    window: float = 4.0


class TrackFinder:
    """Follows seeds through the layers of a detector."""

    def __init__(self, detector: TrackingDetector, settings: FindingSettings | None = None) -> None:
        """Prepare the layers."""
        self.settings = settings or FindingSettings()
        self.detector = detector
        modules = detector.modules
        self.frames = np.ascontiguousarray(modules.axes.reshape(len(modules), 9))
        self.layer_of = np.empty(len(modules), np.int32)
        for number, layer in enumerate(detector.layers):
            self.layer_of[layer.rows] = number
        self.stack = _stack(detector)
        self.surface_of = np.empty(len(detector.layers), np.int32)
        for surface, layer in enumerate(self.stack.layer):
            if layer >= 0:
                self.surface_of[layer] = surface
        self.cuts = FindingCuts(
            GEV_PER_TESLA_MM * detector.field, self.settings.chi2_max, self.settings.holes_max, self.settings.early_holes_max, self.settings.pt_min, self.settings.window,
            self.settings.hits_min, detector.energy_loss,
        )  # fmt: skip

    def sort(self, position, variance, module):  # noqa: ANN001, ANN201
        layers = self.detector.layers
        x, y, z = (np.ascontiguousarray(position[:, axis], np.float32) for axis in range(3))
        layer = self.layer_of[module]
        along = np.array([one.z if one.kind == BARREL else one.r for one in layers], np.float32)
        kind = np.array([one.kind for one in layers], np.int32)
        largest = np.zeros((2, len(layers)), np.float32)
        for axis in range(2):
            largest_on_layers(variance[:, axis], layer, largest[axis])
        empty = np.zeros(0, np.float32)
        grid = LayerGrid(
            kind, empty, empty, along[:, 0].copy(), ROWS / (along[:, 1] - along[:, 0]), ROWS, COLUMNS, np.float32(COLUMNS / (2 * math.pi)),
            np.zeros(len(layers) * ROWS * COLUMNS + 2, np.int32), largest[0], largest[1],
        )  # fmt: skip
        n = len(x)
        cell, order, r, phi = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.float32), np.empty(n, np.float32)
        sort_points(x, y, z, layer, grid, cell, r, phi, order)
        hits = HitArrays(
            np.ascontiguousarray(position[order], np.float64), np.ascontiguousarray(variance[order], np.float64), module[order].astype(np.int32),
            layer[order],
        )
        return order, hits, grid

    def scratch(self):  # noqa: ANN201
        return TrackScratch(np.empty(7), np.empty((6, 6)), np.empty((6, 6)), np.empty((4, 6)), np.empty(11), np.empty(11), self.surface_of)

    def fit(self, tracks, chosen, hits, grid):  # noqa: ANN001, ANN201
        n = len(chosen)
        fits = FitArrays(np.empty((n, 5)), np.empty((n, 5, 5)), np.empty(n), np.empty((n, 8), np.int32), np.empty(n, np.int32))
        fit_tracks(np.asarray(chosen, np.int32), tracks, hits, self.frames, grid, self.stack, self.cuts, self.scratch(), fits)
        return fits

    def find(self, seeds, states, weight, hits, grid):  # noqa: ANN001, ANN201
        order = np.argsort(-weight, kind="stable").astype(np.int32)
        n = len(seeds)
        tracks = TrackArrays(
            np.empty((n + 1, MOST_STEPS), np.int32), np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n), np.empty(n, np.int32),
            np.empty((n, 7)), np.empty((n, 6, 6)),
        )  # fmt: skip
        scratch = self.scratch()
        owners = np.full((len(hits.module), 4), -1, np.int32)
        count, followed = follow_seeds(order, seeds, states, hits, self.frames, grid, self.stack, self.cuts, owners, scratch, tracks)
        return TrackArrays(*(array[:count] for array in tracks)), followed


def _stack(detector: TrackingDetector) -> SurfaceStack:
    rows = []
    centre = detector.modules.centre
    for number, layer in enumerate(detector.layers):
        ends = layer.z if layer.kind == BARREL else layer.r
        spread = (layer.z[1] - layer.z[0]) / 2
        position = layer.position
        if layer.kind == BARREL:
            position = float(np.hypot(*centre[layer.rows, :2].T).mean())
            spread = max(layer.r[1] - position, position - layer.r[0])
        rows.append((layer.kind, position, *ends, number, float(detector.modules.material[layer.rows].mean()), spread))
    rows += [(one.kind, one.position, *one.extent, -1, one.material, 0.0) for one in detector.passive]
    cylinders = sorted((row for row in rows if row[0] == BARREL), key=lambda row: row[1])
    ahead = sorted((row for row in rows if row[0] != BARREL and row[1] > 0), key=lambda row: row[1])
    behind = sorted((row for row in rows if row[0] != BARREL and row[1] <= 0), key=lambda row: -row[1])
    ordered = [*cylinders, *ahead, *behind]
    position, low, high, layer, material, spread = (np.array(column) for column in list(zip(*ordered, strict=True))[1:])
    return SurfaceStack(position, low, high, layer.astype(np.int32), material, spread, len(cylinders), len(cylinders) + len(ahead))
