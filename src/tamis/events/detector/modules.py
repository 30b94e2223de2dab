"""Sensitive modules: where they are, how they are turned, how large they are, and how they are divided into cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tamis._base import UsageError
from tamis.events.detector.field import FieldMap
from tamis.events.detector.layers import BARREL, DetectorLayer, PassiveSurface, find_layers
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
    """A tracking detector: its modules, further matter, and its magnetic field.

    The field is along z and the same everywhere, `field` in tesla, unless there is a map, whose nominal value `field` is then.
    """

    name: str
    modules: Modules
    field: float = 2.0
    passive: tuple[PassiveSurface, ...] = ()
    energy_loss: float = 1.0  # by ionisation, relative to that of silicon of the radiation lengths
    field_map: FieldMap | None = None

    @cached_property
    def layers(self) -> tuple[DetectorLayer, ...]:
        """The cylinders and disks that the modules form."""
        return find_layers(self.modules)

    @cached_property
    def strip_pairs(self) -> StripPairs:
        """The pairs of modules whose strips cross at a small angle."""
        return find_strip_pairs(self.modules)

    def in_field(self, field_map: FieldMap) -> TrackingDetector:
        """Return this detector in the field of a map; raise UsageError if the map does not cover it."""
        ends = [(layer.r, layer.z) for layer in self.layers]
        for one in self.passive:
            place = one.position, one.position
            ends.append((place, one.extent) if one.kind == BARREL else (one.extent, place))
        r_end = max(r[1] for r, _ in ends)
        low, high = min(z[0] for _, z in ends), max(z[1] for _, z in ends)
        if r_end > field_map.r_end or low < field_map.z_ends[0] or high > field_map.z_ends[1]:
            hint = (
                "; name the unit of its lengths in the header, such as r[m]"
                if field_map.r_end < r_end / 5
                else ""
            )
            raise UsageError(
                f"{field_map.source} does not cover the detector {self.name}: its r ends at {field_map.r_end:g} mm and its z at "
                f"{field_map.z_ends[0]:g} and {field_map.z_ends[1]:g} mm, those of the detector at {r_end:.0f}, {low:.0f} and {high:.0f} mm{hint}"
            )
        return replace(self, field=field_map.nominal, field_map=field_map)
