"""Sensitive modules: where they are, how they are turned, how large they are, and how they are divided into cells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tamis.events.detector.layers import DetectorLayer, PassiveSurface, find_layers
from tamis.events.detector.strips import StripPairs, find_strip_pairs


@dataclass(frozen=True)
class Modules:
    """One row for each module, in ascending order of the identifier; lengths in mm.

    A module is a trapezoid in its own coordinates u and v: its half-width along u is `half_u[:, 0]` at v = -half_v and `half_u[:, 1]` at
    v = +half_v. Cell (i, j) has its centre at `first + (i + 1/2, j + 1/2) * pitch`.
    """

    identifier: np.ndarray  # uint64, as ACTS packs volume, layer and module
    volume: np.ndarray
    layer: np.ndarray  # number of the layer in its volume
    centre: np.ndarray  # (modules, 3)
    axes: np.ndarray  # (modules, 3, 3): the unit vectors of u, of v and of the normal
    half_u: np.ndarray  # (modules, 2)
    half_v: np.ndarray
    thickness: np.ndarray
    first: np.ndarray  # (modules, 2): the corner of cell (0, 0)
    pitch: np.ndarray  # (modules, 2)
    cells: np.ndarray  # (modules, 2): how many there are
    material: np.ndarray  # radiation lengths at normal incidence, with the support of the layer

    def __len__(self) -> int:
        """Return the number of modules."""
        return len(self.identifier)

    def take(self, rows: np.ndarray) -> Modules:
        """Return some rows."""
        return Modules(**{name: value[rows] for name, value in vars(self).items()})


@dataclass(frozen=True)
class TrackingDetector:
    """A tracking detector: its modules, further matter, and the magnetic field along z in tesla."""

    name: str
    modules: Modules
    field: float = 2.0
    passive: tuple[PassiveSurface, ...] = ()
    energy_loss: float = 1.0  # by ionisation, relative to that of silicon of the radiation lengths

    @cached_property
    def layers(self) -> tuple[DetectorLayer, ...]:
        """The cylinders and disks that the modules form."""
        return find_layers(self.modules)

    @cached_property
    def strip_pairs(self) -> StripPairs:
        """The pairs of modules whose strips cross at a small angle."""
        return find_strip_pairs(self.modules)
