"""Strips, which measure one coordinate, and the pairs of modules whose strips cross at a small angle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tamis.events.detector.layers import BARREL, DetectorLayer, layer_of
from tamis.events.kinematics import expand_ranges

if TYPE_CHECKING:
    from tamis.events.detector.modules import Modules, TrackingDetector

# A cell is a strip if it is this much longer than wide, or longer than wide and the only one in its direction.
STRIP_SHAPE, ONLY_SHAPE = 20.0, 2.0
GAP_MM = 15.0  # between the planes of a pair, at most
SHIFT_MM = 10.0  # between the centres of a pair along the planes, at most
STEREO_ANGLE = (0.0009, 0.25)  # between the strips of a pair
FACING_ANGLE = 0.01  # between the normals of a pair, at most
# Points of pairs are displaced along the strips if a track is bent: layers of pairs end this far beyond their modules.
DISPLACED_MM = 20.0


@dataclass(frozen=True)
class StripPairs:
    """Pairs of modules as rows of the detector's modules: `first` is nearer to the beam on a cylinder, to the middle on a disk."""

    first: np.ndarray  # ascending
    second: np.ndarray

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.first)


def is_strip(modules: Modules) -> np.ndarray:
    """Return which modules have strips as cells."""
    rows = np.arange(len(modules))
    along = strip_axis(modules)
    shape = modules.pitch[rows, along] / modules.pitch[rows, 1 - along]
    result: np.ndarray = (shape >= STRIP_SHAPE) | ((shape >= ONLY_SHAPE) & (modules.cells[rows, along] == 1))
    return result


def strip_axis(modules: Modules) -> np.ndarray:
    """Return the axis that the cells of each module are longer in: 0 for u, 1 for v."""
    return (modules.pitch[:, 1] > modules.pitch[:, 0]).astype(np.int64)


def find_strip_pairs(modules: Modules) -> StripPairs:
    """Return the pairs of modules of strips: each the nearest of the other among those that face it and whose strips cross its own.

    The modules of a pair are at most some millimetres apart, so that they are on one layer, or on two layers side by side.
    """
    rows = np.flatnonzero(is_strip(modules))
    a, b = _neighbours(modules.centre[rows], float(np.hypot(GAP_MM, SHIFT_MM)))
    a, b = rows[a], rows[b]
    normal, apart = modules.axes[a, 2], modules.centre[b] - modules.centre[a]
    gap = np.abs((normal * apart).sum(axis=1))
    distance = (apart**2).sum(axis=1)
    along = strip_axis(modules)
    stereo = _angle(modules.axes[a, along[a]], modules.axes[b, along[b]])
    good = (gap <= GAP_MM) & (distance - gap**2 <= SHIFT_MM**2)
    good &= (stereo >= STEREO_ANGLE[0]) & (stereo <= STEREO_ANGLE[1])
    good &= _angle(normal, modules.axes[b, 2]) <= FACING_ANGLE
    a, b, distance = a[good], b[good], distance[good]
    order = np.lexsort((b, distance, a))
    a, b = a[order], b[order]
    nearest = np.full(len(modules), -1, np.int64)
    begins = np.flatnonzero(np.append(True, a[1:] != a[:-1])[: len(a)])
    nearest[a[begins]] = b[begins]
    first = np.flatnonzero(nearest >= 0)
    first = first[(nearest[nearest[first]] == first) & (first < nearest[first])]
    second = nearest[first]
    depth = np.abs((modules.axes[first, None, 2] * modules.centre[np.stack([first, second], 1)]).sum(axis=2))
    turned = depth[:, 1] < depth[:, 0]
    first, second = np.where(turned, second, first), np.where(turned, first, second)
    order = np.argsort(first)
    return StripPairs(first[order], second[order])


def pair_layers(detector: TrackingDetector) -> tuple[DetectorLayer, ...]:
    """Return the layers of pairs: their rows are the first modules, their space has the points of both."""
    pairs, found = detector.strip_pairs, []
    first = np.isin(np.arange(len(detector.modules)), pairs.first)
    second = np.full(len(detector.modules), -1)
    second[pairs.first] = pairs.second
    for layer in detector.layers:
        rows = layer.rows[first[layer.rows]]
        if not len(rows):
            continue
        both = layer_of(
            detector.modules, np.append(rows, second[rows]), layer.volume, layer.number, layer.kind
        )
        low, high = both.z if layer.kind == BARREL else both.r
        ends = (low - DISPLACED_MM, high + DISPLACED_MM)
        found.append(
            replace(both, rows=rows, z=ends) if layer.kind == BARREL else replace(both, rows=rows, r=ends)
        )
    return tuple(found)


def stereo_angles(modules: Modules, pairs: StripPairs) -> np.ndarray:
    """Return the angles between the strips of pairs."""
    along = strip_axis(modules)
    return _angle(
        modules.axes[pairs.first, along[pairs.first]], modules.axes[pairs.second, along[pairs.second]]
    )


def _angle(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the angles between lines, (n, 3)."""
    result: np.ndarray = np.arcsin(np.minimum(np.linalg.norm(np.cross(one, other), axis=1), 1.0))
    return result


def _neighbours(centre: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs of different points in the same or in neighbouring cubes of an edge of `reach`."""
    cube = np.floor(centre / reach).astype(np.int64)
    cube -= cube.min(axis=0, initial=0) - 1
    width = cube.max(axis=0, initial=0) + 2
    key = (cube[:, 0] * width[1] + cube[:, 1]) * width[2] + cube[:, 2]
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    steps = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    wanted = key[:, None] + (steps[:, 0] * width[1] + steps[:, 1]) * width[2] + steps[:, 2]
    begin, end = (np.searchsorted(ordered, wanted.ravel(), side=side) for side in ("left", "right"))
    owner, place = expand_ranges(begin, end - begin)
    a, b = owner // len(steps), order[place]
    return a[a != b], b[a != b]
