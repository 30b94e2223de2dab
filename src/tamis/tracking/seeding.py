"""Seeding: from space points to triplets that may be the beginning of a track."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tamis._base import DataError, UsageError, did_you_mean
from tamis.events.detector import BARREL, DetectorLayer, TrackingDetector, pair_layers, stereo_angles
from tamis.events.detector.strips import GAP_MM, STEREO_ANGLE
from tamis.tracking.kernels.grid import largest_on_layers, sort_points
from tamis.tracking.kernels.seeding import seed_points
from tamis.tracking.kernels.types import (
    CandidateArrays,
    DoubletArrays,
    LayerGrid,
    LayerLinks,
    PointArrays,
    TripletArrays,
    TripletCuts,
)
from tamis.tracking.steps import SpacePoints, TrackSeeds

GEV_PER_TESLA_MM = 0.299792458e-3
POINT_ROWS, POINT_COLUMNS = 128, 256  # of the grid on each layer, for events of POINTS_FULL points or more
POINTS_FULL = 10_000
PIXEL_PITCH_MM = 0.5  # of both coordinates
ROOM = 64  # pairs of a middle point at first
SEED_SOURCES = ("pixels", "strips", "all")
# Seeds of strips: points of a module are known to some millimetres along the strips, and lie far from the beam, behind more matter.
STRIP_IMPACT_MM, STRIP_REGION_MM, STRIP_SIGMAS = 20.0, 500.0, 3.0
BEND_MARGIN = 1.2  # for tilted modules
LAYER_STEPS = 1.5  # from layer to layer that a seed of strips may take


@dataclass(frozen=True)
class SeedingSettings:
    """Cuts of the seeding, named as in ACTS; lengths in mm, momenta in GeV. The defaults are ACTS' tight configuration."""

    pt_min: float = 0.5
    impact_max: float = 2.0
    delta_r: tuple[float, float] = (20.0, 80.0)
    delta_z_max: float = 450.0
    collision_region: float = 200.0
    cot_theta_max: float = 10.0
    sigma_scattering: float = 3.0
    radiation_length: float = 0.05
    radius: tuple[float, float] = (33.0, 200.0)
    z_max: float = 1000.0
    middle_radius: tuple[float, float] = (60.0, 120.0)
    seeds_per_middle: int = 6
    seeds_from: str = "pixels"  # one of SEED_SOURCES; `seeding_for` has cuts for strips
    sigma_measurement: float = 1.0  # that the errors of points count

    def cuts(self, field: float) -> TripletCuts:
        """Return the cuts of the kernels for a field in tesla."""
        per_mm = GEV_PER_TESLA_MM * field
        highland = 0.0136 * math.sqrt(self.radiation_length) * (1 + 0.038 * math.log(self.radiation_length))
        diameter = 2 * self.pt_min / per_mm
        numbers = {
            "radius_min": self.delta_r[0], "radius_max": self.delta_r[1], "z_max": self.delta_z_max, "vertex_z": self.collision_region,
            "slope_max": self.cot_theta_max, "impact_max": self.impact_max,
            "scattering": (highland / self.pt_min * self.sigma_scattering) ** 2,
            "scattering_per_curvature": (highland / per_mm * 2 * self.sigma_scattering) ** 2,
            "diameter_min": diameter, "bend": 1.02 / diameter, "impact_weight": 1.0, "confirmation": 200.0, "curvature_window": 3e-5, "radius_window": 5.0,
        }  # fmt: skip
        return TripletCuts(
            **{name: np.float32(value) for name, value in numbers.items()},
            confirmed=2,
            most=self.seeds_per_middle,
            errors=np.float32(self.sigma_measurement**2),
            stereo=0,
        )


class SeedFinder:
    """Finds triplets on the seeding layers of a detector."""

    def __init__(
        self,
        layers: tuple[DetectorLayer, ...],
        field: float,
        settings: SeedingSettings | None = None,
        bend: np.ndarray | None = None,
    ) -> None:
        """Find which layers can follow each other; `bend` is the largest of the points on each layer, None without strips."""
        self.settings = settings or SeedingSettings()
        bends = np.zeros(len(layers), np.float32) if bend is None else bend.astype(np.float32)
        self.cuts = self.settings.cuts(field)._replace(stereo=int(bends.any()))
        self.layers = layers
        self.links = _links(layers, self.settings, bends)
        self._room = ROOM

    def __call__(self, points: SpacePoints) -> TrackSeeds:
        """Return the seeds of one event."""
        order, arrays, grid = self._sorted(points)
        middle = (arrays.r > self.settings.middle_radius[0]) & (arrays.r < self.settings.middle_radius[1])
        middle &= (self.links.inner_count[arrays.layer] > 0) & (self.links.outer_count[arrays.layer] > 0)
        middles = np.flatnonzero(middle).astype(np.int32)
        shape = len(middles), self.cuts.most
        triplets = TripletArrays(
            np.empty(shape, np.int32),
            np.empty(shape, np.int32),
            np.empty(shape, np.float32),
            np.empty(len(middles), np.int32),
        )
        done = 0
        while done < len(middles):
            room = self._room
            pairs = DoubletArrays(np.empty(room, np.int32), *(np.empty(room, np.float32) for _ in range(5)))
            found = CandidateArrays(
                *(np.empty(room, np.int32) for _ in range(2)), *(np.empty(room, np.float32) for _ in range(3))
            )
            rest = TripletArrays(*(array[done:] for array in triplets))
            count, needed = seed_points(
                middles[done:], arrays, grid, self.links, self.cuts, pairs, found, rest
            )
            done += count
            if needed:
                self._room = 1 << int(needed - 1).bit_length()
        kept = np.arange(self.cuts.most) < triplets.kept[:, None]
        middle_of = np.repeat(middles, triplets.kept)
        columns = (triplets.inner[kept], middle_of, triplets.outer[kept])
        return TrackSeeds(order[np.stack(columns, axis=1)], triplets.weight[kept])

    def empty_grid(self, count: int) -> LayerGrid:
        """Return the grid for an event of `count` space points, with nothing in it."""
        layers = len(self.layers)
        kind = np.array([layer.kind for layer in self.layers], np.int32)
        across = np.array([layer.r if layer.kind == BARREL else layer.z for layer in self.layers], np.float32)
        along = np.array([layer.z if layer.kind == BARREL else layer.r for layer in self.layers], np.float32)
        share = min(1.0, math.sqrt((count + 1) / POINTS_FULL))
        rows, columns = max(1, round(POINT_ROWS * share)), max(8, round(POINT_COLUMNS * share))
        return LayerGrid(
            kind, across[:, 0].copy(), across[:, 1].copy(), along[:, 0].copy(), rows / (along[:, 1] - along[:, 0]), rows, columns,
            np.float32(columns / (2 * math.pi)), np.zeros(layers * rows * columns + 2, np.int32), np.zeros(layers, np.float32), np.zeros(layers, np.float32),
        )  # fmt: skip

    def _sorted(self, points: SpacePoints) -> tuple[np.ndarray, PointArrays, LayerGrid]:
        x, y, z = (np.ascontiguousarray(getattr(points, axis), np.float32) for axis in "xyz")
        layer = np.ascontiguousarray(points.layer, np.int32)
        grid = self.empty_grid(len(points))
        variances = [np.ascontiguousarray(one, np.float32) for one in (points.variance_r, points.variance_z)]
        for values, largest in zip(variances, (grid.variance_r, grid.variance_z), strict=True):
            largest_on_layers(values, layer, largest)
        cell, order = np.empty(len(points), np.int32), np.empty(len(points), np.int32)
        r, phi = np.empty(len(points), np.float32), np.empty(len(points), np.float32)
        sort_points(x, y, z, layer, grid, cell, r, phi, order)
        arrays = (x, y, z, r, phi, *variances)
        bend = np.zeros(0, np.float32)
        if self.cuts.stereo:
            bend = (points.bend_z - z / (r * r) * (x * points.bend_x + y * points.bend_y))[order]
        return order, PointArrays._make([*(array[order] for array in arrays), bend, layer[order]]), grid


def _links(layers: tuple[DetectorLayer, ...], settings: SeedingSettings, bend: np.ndarray) -> LayerLinks:
    """Return which layers are combined: those whose points can be as far apart in radius, and as near in z, as the cuts allow."""
    shape = len(layers), len(layers)
    inner, outer = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    inner_count, outer_count = np.zeros(len(layers), np.int32), np.zeros(len(layers), np.int32)
    least, most = settings.delta_r
    for a, one in enumerate(layers):
        for b, other in enumerate(layers):
            if other.r[1] - one.r[0] <= least or other.r[0] - one.r[1] >= most:
                continue
            apart = max(other.z[0] - one.z[1], one.z[0] - other.z[1])
            if apart > settings.delta_z_max:
                continue
            outer[a, outer_count[a]] = b
            outer_count[a] += 1
            inner[b, inner_count[b]] = a
            inner_count[b] += 1
    return LayerLinks(inner_count, inner, outer_count, outer, bend)


def seeding_for(detector: TrackingDetector, seeds_from: str | None = None) -> SeedingSettings:
    """Return cuts that fit a detector; by default seeds are from pixels where it has some, else from pairs of strips."""
    if seeds_from is None:
        seeds_from = "pixels" if seeding_layers(detector) or not len(detector.strip_pairs) else "strips"
    if seeds_from not in SEED_SOURCES:
        raise UsageError(
            f"seeds are from {', '.join(SEED_SOURCES)}, not from {seeds_from!r}; {did_you_mean(seeds_from, SEED_SOURCES)}"
        )
    layers = pair_layers(detector)
    if seeds_from == "pixels" or not layers:
        return SeedingSettings(seeds_from=seeds_from)
    cylinders = sorted((layer for layer in layers if layer.kind == BARREL), key=lambda one: one.position)
    disks = sorted((layer for layer in layers if layer.kind != BARREL), key=lambda one: one.position)
    along, outwards = [0.0], [0.0]
    for one, other in pairwise(cylinders):
        outwards.append(other.position - one.position)
        along.append(outwards[-1] * max(map(abs, one.z)) / one.position)
    for one, other in pairwise(disks):
        if one.position * other.position > 0:
            along.append(other.position - one.position)
            outwards.append(along[-1] * other.r[1] / min(abs(one.position), abs(other.position)))
    defaults = SeedingSettings()
    inner = defaults.middle_radius[0] if seeds_from == "all" else min(layer.r[0] for layer in layers)
    return SeedingSettings(
        impact_max=STRIP_IMPACT_MM,
        delta_r=(defaults.delta_r[0], max(defaults.delta_r[1], LAYER_STEPS * max(outwards))),
        delta_z_max=max(defaults.delta_z_max, LAYER_STEPS * max(along)),
        collision_region=STRIP_REGION_MM,
        middle_radius=(inner, max(layer.r[1] for layer in layers)),
        seeds_from=seeds_from,
        sigma_measurement=STRIP_SIGMAS,
    )


def seeding_layers(detector: TrackingDetector, seeds_from: str = "pixels") -> tuple[DetectorLayer, ...]:
    """Return the layers to seed on: those of pixels that begin within the radius of seeds, those of pairs of strips, or both."""
    settings = SeedingSettings()
    pixels = (
        layer
        for layer in detector.layers
        if layer.r[0] < settings.radius[1]
        and min(abs(end) for end in layer.z) < settings.z_max
        and detector.modules.pitch[layer.rows].max() < PIXEL_PITCH_MM
    )
    strips = () if seeds_from == "pixels" else pair_layers(detector)
    return strips if seeds_from == "strips" else (*pixels, *strips)


def check_layers(
    detector: TrackingDetector, layers: tuple[DetectorLayer, ...], settings: SeedingSettings
) -> None:
    """Raise DataError if there is no layer to seed on: what the detector lacks, and what else it has."""
    if layers:
        return
    lacking, other = {
        "pixels": (
            f"pixels below a radius of {settings.radius[1]:g} mm and within |z| of {settings.z_max:g} mm, with a pitch below {PIXEL_PITCH_MM:g} mm",
            f"it has {len(detector.strip_pairs)} pairs of strip modules: seed from those (--seeds-from strips), or ",
        ),
        "strips": (
            f"pairs of strip modules (two that face each other at most {GAP_MM:g} mm apart, with strips at {1e3 * STEREO_ANGLE[0]:.0f} to {1e3 * STEREO_ANGLE[1]:.0f} mrad)",
            "it has pixels: seed from those (--seeds-from pixels), or ",
        ),
    }["strips" if settings.seeds_from == "strips" else "pixels"]
    if settings.seeds_from != "strips" and not len(detector.strip_pairs):
        lacking, other = f"{lacking}; nor pairs of strip modules", ""
    elif settings.seeds_from == "strips" and not seeding_layers(detector):
        other = ""
    raise DataError(
        f"the detector {detector.name} has no layer to seed on: it has no {lacking}; {other}name layers of your own (Reconstruction(..., layers=...))"
    )


def strip_partners(detector: TrackingDetector) -> np.ndarray:
    """Return the second module of the pair that each module is the first of, -1 for modules that are not."""
    partners = np.full(len(detector.modules), -1, np.int32)
    partners[detector.strip_pairs.first] = detector.strip_pairs.second
    return partners


def layer_numbers(detector: TrackingDetector, layers: tuple[DetectorLayer, ...]) -> np.ndarray:
    """Return the number of each module's layer among some layers, -1 for modules of others and for the second ones of pairs."""
    result = np.full(len(detector.modules), -1, np.int32)
    for number, layer in enumerate(layers):
        result[layer.rows] = number
    result[detector.strip_pairs.second] = -1
    return result


def largest_bends(detector: TrackingDetector, layers: tuple[DetectorLayer, ...]) -> np.ndarray:
    """Return how far points of pairs are displaced along z per curvature, at most, on each layer in mm^2; 0 for layers without pairs.

    A bent track passes the second strip aside by curvature x gap x radius / 2, which the angle between the strips magnifies.
    """
    modules, pairs = detector.modules, detector.strip_pairs
    apart = modules.centre[pairs.second] - modules.centre[pairs.first]
    gap = np.abs((apart * modules.axes[pairs.first, 2]).sum(axis=1))
    lever = np.zeros(len(modules))
    lever[pairs.first] = gap / (2 * np.sin(stereo_angles(modules, pairs)))
    bends = [BEND_MARGIN * lever[layer.rows].max(initial=0) * layer.r[1] for layer in layers]
    return np.array(bends, np.float32)


def largest_curvature(settings: SeedingSettings, field: float) -> float:
    """Return the curvature of tracks of the least transverse momentum in 1 / mm."""
    return GEV_PER_TESLA_MM * field / settings.pt_min
