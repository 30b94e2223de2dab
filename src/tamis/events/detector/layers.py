"""Layers of modules: cylinders of the barrel and disks of the end-caps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tamis._base import DataError

if TYPE_CHECKING:
    from tamis.events.detector.modules import Modules

BARREL, DISK = 0, 1
NORMAL_TO_AXIS = 0.5  # |cosine| between the normal of a module and the beam, above which it belongs to a disk


@dataclass(frozen=True)
class DetectorLayer:
    """Modules of one cylinder or one disk, and the space that their corners reach, in mm."""

    volume: int
    number: int
    kind: int  # BARREL or DISK
    rows: np.ndarray  # of its modules
    r: tuple[float, float]
    z: tuple[float, float]

    @property
    def position(self) -> float:
        """The mean radius of a cylinder, the mean z of a disk."""
        low, high = self.r if self.kind == BARREL else self.z
        return (low + high) / 2


@dataclass(frozen=True)
class PassiveSurface:
    """Matter without cells: a cylinder of radius `position` between two z, or a disk at z = `position` between two radii, in mm."""

    kind: int  # BARREL or DISK
    position: float
    extent: tuple[float, float]
    material: float  # radiation lengths at normal incidence


def find_layers(modules: Modules) -> tuple[DetectorLayer, ...]:
    """Return the layers by volume and number; raise DataError for one that is neither a cylinder nor a disk."""
    layers = []
    keys = np.stack([modules.volume, modules.layer], axis=1)
    for volume, number in np.unique(keys, axis=0):
        rows = np.flatnonzero((modules.volume == volume) & (modules.layer == number))
        along = np.abs(modules.axes[rows, 2, 2])
        disk = along > NORMAL_TO_AXIS
        if disk.any() and not disk.all():
            raise DataError(
                f"layer {number} of volume {volume} has modules of a cylinder and of a disk: {int(disk.sum())} of {len(rows)} face the "
                "beam; give them layers of their own"
            )
        layers.append(layer_of(modules, rows, int(volume), int(number), DISK if disk.all() else BARREL))
    return tuple(layers)


def layer_of(modules: Modules, rows: np.ndarray, volume: int, number: int, kind: int) -> DetectorLayer:
    """Return some modules as a layer."""
    corners = module_corners(modules, rows)
    radius = np.hypot(corners[..., 0], corners[..., 1])
    nearest = _nearest_radius(modules, rows) if kind == DISK else radius.min()
    return DetectorLayer(
        volume, number, kind, rows,
        (float(min(nearest, radius.min())), float(radius.max())),
        (float(corners[..., 2].min()), float(corners[..., 2].max())),
    )  # fmt: skip


def module_corners(modules: Modules, rows: np.ndarray) -> np.ndarray:
    """Return the corners in space, (modules, 4, 3)."""
    u = np.stack(
        [
            -modules.half_u[rows, 0],
            modules.half_u[rows, 0],
            modules.half_u[rows, 1],
            -modules.half_u[rows, 1],
        ],
        1,
    )
    v = np.stack([-modules.half_v[rows]] * 2 + [modules.half_v[rows]] * 2, 1)
    axes = modules.axes[rows]
    result: np.ndarray = (
        modules.centre[rows, None] + u[..., None] * axes[:, None, 0] + v[..., None] * axes[:, None, 1]
    )
    return result


def _nearest_radius(modules: Modules, rows: np.ndarray) -> float:
    """Return the least distance of the inner edges of modules from the beam: the middle of an edge is nearer than its corners."""
    ends = module_corners(modules, rows)[..., :2]
    starts, sides = ends, np.roll(ends, -1, axis=1) - ends
    along = -(starts * sides).sum(-1) / np.maximum((sides**2).sum(-1), 1e-12)
    nearest = starts + np.clip(along, 0, 1)[..., None] * sides
    return float(np.hypot(nearest[..., 0], nearest[..., 1]).min())
