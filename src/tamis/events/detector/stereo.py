"""An example of a detector without pixels: modules of strips on both sides, which cross at a small angle, in a barrel and on disks."""

from __future__ import annotations

import numpy as np

from tamis.events.detector.generic import (
    CylinderShape,
    Ring,
    Shape,
    cylinder_modules,
    disk_modules,
)
from tamis.events.detector.identifiers import pack_identifier
from tamis.events.detector.modules import Modules, TrackingDetector

SHORT_STRIPS = Shape((48.0, 48.0), 48.0, 0.3, (1200, 2), 1.0)
LONG_STRIPS = Shape((48.0, 48.0), 48.0, 0.3, (1200, 1), 1.0)
DISK_STRIPS = Shape((48.0, 48.0), 64.0, 0.3, (1200, 1), 1.0)
STRIP_CYLINDERS = (
    (SHORT_STRIPS, CylinderShape(300, 24, 15, 92, 0.15, 4.0)),
    (SHORT_STRIPS, CylinderShape(400, 32, 15, 92, 0.15, 4.0)),
    (SHORT_STRIPS, CylinderShape(500, 40, 15, 92, 0.15, 4.0)),
    (LONG_STRIPS, CylinderShape(620, 50, 15, 92, 0.15, 4.0)),
    (LONG_STRIPS, CylinderShape(760, 60, 15, 92, 0.15, 4.0)),
    (LONG_STRIPS, CylinderShape(900, 72, 15, 92, 0.15, 4.0)),
)
STRIP_RINGS = tuple(
    Ring(radius, around, DISK_STRIPS, (offset - 3.0, offset + 3.0))
    for radius, around, offset in (
        (310.0, 30, -9.0),
        (430.0, 38, 9.0),
        (550.0, 48, -9.0),
        (670.0, 56, 9.0),
        (790.0, 64, -9.0),
        (910.0, 74, 9.0),
    )
)
STRIP_DISKS_Z = (800.0, 950.0, 1120.0, 1320.0, 1550.0, 1800.0)
PAIR_GAP_MM, PAIR_ANGLE = 3.0, 0.04


def strip_detector() -> TrackingDetector:
    """Return a detector of six cylinders and twelve disks, all of pairs of strip modules that are turned by 40 mrad against each other."""
    parts = [
        cylinder_modules(23, 2 * (i + 1), shape, cylinder)
        for i, (shape, cylinder) in enumerate(STRIP_CYLINDERS)
    ]
    for i, z in enumerate(STRIP_DISKS_Z):
        parts.append(disk_modules(24, 2 * (i + 1), STRIP_RINGS, z))
        parts.append(disk_modules(22, 2 * (len(STRIP_DISKS_Z) - i), STRIP_RINGS, -z))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    modules = _doubled(Modules(**joined))
    return TrackingDetector(
        "strips", modules.take(np.argsort(modules.identifier)), field=2.0, energy_loss=1.0
    )


def _doubled(modules: Modules) -> Modules:
    """Return each module twice: moved along its normal and turned about it, in opposite directions."""
    sides = []
    for side in (-1, 1):
        normal = modules.axes[:, 2]
        cosine, sine = np.cos(side * PAIR_ANGLE / 2), np.sin(side * PAIR_ANGLE / 2)
        u = cosine * modules.axes[:, 0] + sine * modules.axes[:, 1]
        v = cosine * modules.axes[:, 1] - sine * modules.axes[:, 0]
        number = 2 * ((modules.identifier >> np.uint64(8)) & np.uint64(0xFFFFF)).astype(np.int64)
        values = vars(modules) | {
            "identifier": pack_identifier(modules.volume, modules.layer, number + (side > 0)),
            "centre": modules.centre + side * PAIR_GAP_MM / 2 * normal,
            "axes": np.stack([u, v, normal], axis=1),
        }
        sides.append(values)
    return Modules(**{name: np.concatenate([part[name] for part in sides]) for name in sides[0]})
