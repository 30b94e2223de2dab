"""The generic detector of ACTS, which is that of the TrackML challenge (arXiv:1904.06778): pixels, short strips and long strips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.events.detector.identifiers import pack_identifier
from tamis.events.detector.layers import BARREL, PassiveSurface
from tamis.events.detector.modules import Modules, TrackingDetector

SILICON_X0_MM = 95.7


@dataclass(frozen=True)
class Shape:
    """A type of module: half-widths at both ends, half-length, thickness and pitches, in mm."""

    half_u: tuple[float, float]
    half_v: float
    thickness: float
    cells: tuple[int, int]
    support: float  # silicon that weighs as much as what carries the module

    @property
    def material(self) -> float:
        """Radiation lengths."""
        return (self.thickness + self.support) / SILICON_X0_MM


@dataclass(frozen=True)
class CylinderShape:
    """Modules side by side on a cylinder, tilted about the beam; rows along z alternate in radius."""

    radius: float
    around: int
    along: int
    spacing: float
    tilt: float
    stagger: float


@dataclass(frozen=True)
class Ring:
    """Modules side by side at one radius of a disk; `offsets` along z take turns."""

    radius: float
    around: int
    shape: Shape
    offsets: tuple[float, ...]


PIXEL = Shape((8.4, 8.4), 36.0, 0.15, (336, 1440), 1.5)
BARE_PIXEL = Shape((8.4, 8.4), 36.0, 0.15, (336, 1440), 0.0)  # what carries it is a surface of its own
SHORT_BARREL = Shape((24.0, 24.0), 54.0, 0.25, (600, 90), 2.0)
LONG_BARREL = Shape((24.0, 24.0), 54.0, 0.35, (400, 10), 2.5)
PIXEL_DISK = (Ring(66.0, 40, PIXEL, (2.5, -2.0, 2.0, -2.5)), Ring(140.0, 68, PIXEL, (2.0, -2.0)))
SHORT_DISK = (
    Ring(318.0, 54, Shape((16.4, 24.2), 78.0, 0.25, (605, 130), 2.5), (-1.5, -4.5)),
    Ring(470.0, 56, Shape((24.2, 32.2), 78.0, 0.25, (805, 130), 2.5), (4.5, 1.5)),
    Ring(622.0, 60, Shape((32.2, 40.0), 78.0, 0.25, (1000, 130), 2.5), (-1.5, -4.5)),
)
LONG_DISK = (
    Ring(828.0, 48, Shape((54.0, 64.2), 78.0, 0.35, (1070, 15), 3.5), (-2.5, -5.5)),
    Ring(942.0, 50, Shape((66.0, 72.0), 78.0, 0.35, (1200, 15), 3.5), (5.5, 2.5)),
)
BARRELS = (
    (8, BARE_PIXEL, (CylinderShape(32, 16, 14, 70, 0.14, 0.25), CylinderShape(72, 32, 14, 70, 0.14, 0.25),
                CylinderShape(116, 52, 14, 70, 0.14, 0.25), CylinderShape(172, 78, 14, 70, 0.14, 0.25))),
    (13, SHORT_BARREL, (CylinderShape(260, 40, 21, 103, -0.15, 1.5), CylinderShape(360, 56, 21, 103, -0.15, 1.5),
                        CylinderShape(500, 78, 21, 103, -0.15, 1.5), CylinderShape(660, 102, 21, 103, -0.15, 1.5))),
    (17, LONG_BARREL, (CylinderShape(820, 120, 21, 103, -0.15, 1.5), CylinderShape(1020, 152, 21, 103, -0.15, 1.5))),
)  # fmt: skip
PIXEL_DISKS = (600.0, 700.0, 820.0, 960.0, 1100.0, 1300.0, 1500.0)
STRIP_DISKS = (1220.0, 1500.0, 1800.0, 2150.0, 2550.0, 2950.0)
END_CAPS = (
    (7, 9, PIXEL_DISK, PIXEL_DISKS),
    (12, 14, SHORT_DISK, STRIP_DISKS),
    (16, 18, LONG_DISK, STRIP_DISKS),
)


BERYLLIUM_X0_MM = 352.8
PIXEL_SUPPORTS_MM = (
    35.27,
    74.72,
    118.55,
    174.45,
)  # outside the modules: for the impact parameter it matters that hits come first
PASSIVE = (
    PassiveSurface(BARREL, 19.0, (-3000.0, 3000.0), 0.8 / BERYLLIUM_X0_MM),  # the beam pipe
    *(PassiveSurface(BARREL, radius, (-493.0, 493.0), 1.5 / SILICON_X0_MM) for radius in PIXEL_SUPPORTS_MM),
    PassiveSurface(BARREL, 200.0, (-2800.0, 2800.0), 1.8 / BERYLLIUM_X0_MM),  # what carries the pixels
)


def generic_detector() -> TrackingDetector:
    """Return the generic detector, of 18,728 modules."""
    parts = []
    for volume, shape, cylinders in BARRELS:
        parts += [cylinder_modules(volume, 2 * (i + 1), shape, one) for i, one in enumerate(cylinders)]
    for backward, forward, rings, places in END_CAPS:
        for i, z in enumerate(places):
            parts.append(disk_modules(forward, 2 * (i + 1), rings, z))
            parts.append(disk_modules(backward, 2 * (len(places) - i), rings, -z))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    modules = Modules(**joined)
    modules = modules.take(np.argsort(modules.identifier))
    return TrackingDetector("generic", modules, field=2.0, passive=PASSIVE)


def cylinder_modules(volume: int, layer: int, shape: Shape, cylinder: CylinderShape) -> dict[str, np.ndarray]:
    """Return the columns of the modules on a cylinder, numbered from 1 on."""
    row, column = np.divmod(np.arange(cylinder.along * cylinder.around), cylinder.around)
    phi = _angles(cylinder.around)[column]
    radius = cylinder.radius + np.where(row % 2 == 0, cylinder.stagger, -cylinder.stagger)
    z = (row - (cylinder.along - 1) / 2) * cylinder.spacing
    centre = np.stack([radius * np.cos(phi), radius * np.sin(phi), z], axis=1)
    turned = phi + cylinder.tilt
    normal = np.stack([np.cos(turned), np.sin(turned), np.zeros(len(phi))], axis=1)
    v = np.broadcast_to([0.0, 0.0, 1.0], normal.shape)
    axes = np.stack([np.cross(v, normal), v, normal], axis=1)
    return _modules(volume, layer, np.arange(len(phi)) + 1, [shape] * len(phi), centre, axes)


def disk_modules(volume: int, layer: int, rings: tuple[Ring, ...], z: float) -> dict[str, np.ndarray]:
    """Return the columns of the modules on a disk, numbered from 1 on."""
    side = np.sign(z)
    centres, axes, shapes = [], [], list[Shape]()
    for ring in rings:
        phi = _angles(ring.around)
        offset = np.resize(np.array(ring.offsets), ring.around)
        v = np.stack([np.cos(phi), np.sin(phi), np.zeros(len(phi))], axis=1)
        normal = np.broadcast_to([0.0, 0.0, side], v.shape)
        centres.append(ring.radius * v + np.stack([0 * phi, 0 * phi, z + side * offset], axis=1))
        axes.append(np.stack([np.cross(v, normal), v, normal], axis=1))
        shapes += [ring.shape] * ring.around
    numbers = np.arange(len(shapes)) + 1
    return _modules(volume, layer, numbers, shapes, np.concatenate(centres), np.concatenate(axes))


def _angles(count: int) -> np.ndarray:
    """Return `count` angles around the beam, from -pi on, at the middle of equal parts."""
    return (np.arange(count) + 0.5) * (2 * np.pi / count) - np.pi


def _modules(
    volume: int, layer: int, numbers: np.ndarray, shapes: list[Shape], centre: np.ndarray, axes: np.ndarray
) -> dict[str, np.ndarray]:
    count = len(numbers)
    half_u = np.array([shape.half_u for shape in shapes])
    half_v = np.array([shape.half_v for shape in shapes])
    cells = np.array([shape.cells for shape in shapes])
    first = -np.stack([half_u.max(axis=1), half_v], axis=1)
    volumes, layers = np.full(count, volume, np.int32), np.full(count, layer, np.int32)
    return {
        "identifier": pack_identifier(volumes, layers, numbers),
        "volume": volumes, "layer": layers, "centre": centre, "axes": axes, "half_u": half_u, "half_v": half_v,
        "thickness": np.array([shape.thickness for shape in shapes]),
        "first": first, "pitch": -2 * first / cells, "cells": cells,
        "material": np.array([shape.material for shape in shapes]),
    }  # fmt: skip
