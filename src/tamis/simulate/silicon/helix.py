"""Helices of charged particles in a field along z, for many particles at once; lengths in mm, momenta in GeV."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

GEV_PER_TESLA_MM = 0.299792458e-3
STRAIGHT = 1e-7  # |turning angle| below which a step is straight


@dataclass(frozen=True)
class Helices:
    """States of particles: position (n, 3), azimuth of the direction, pz / pT, and transverse curvature with sign (1 / mm)."""

    position: np.ndarray
    phi: np.ndarray
    slope: np.ndarray
    curvature: np.ndarray

    def __len__(self) -> int:
        """Return the number of particles."""
        return len(self.phi)

    def take(self, rows: np.ndarray) -> Helices:
        """Return some of them."""
        return Helices(self.position[rows], self.phi[rows], self.slope[rows], self.curvature[rows])

    @property
    def direction(self) -> np.ndarray:
        """Directions per transverse length, (n, 3)."""
        return np.stack([np.cos(self.phi), np.sin(self.phi), self.slope], axis=1)


def curvature_of(charge: np.ndarray, pt_gev: np.ndarray, field: float) -> np.ndarray:
    """Return the change of azimuth per transverse length: positive charges turn clockwise."""
    result: np.ndarray = -charge * GEV_PER_TESLA_MM * field / pt_gev
    return result


def advance(helices: Helices, length: np.ndarray) -> Helices:
    """Return the states after transverse path lengths."""
    turn = helices.curvature * length
    middle = helices.phi + turn / 2
    chord = length * np.sinc(turn / (2 * np.pi))  # of an arc: 2 R sin(turn / 2)
    step = np.stack([chord * np.cos(middle), chord * np.sin(middle), helices.slope * length], axis=1)
    return replace(helices, position=helices.position + step, phi=helices.phi + turn)


def to_cylinder(helices: Helices, radius: np.ndarray) -> np.ndarray:
    """Return the transverse lengths to the first crossing of cylinders around the beam from inside, NaN where it is not crossed.

    Shapes broadcast: radii of shape (m,) give lengths (n, m).
    """
    x, y = helices.position[:, 0, None], helices.position[:, 1, None]
    phi, curvature = helices.phi[:, None], helices.curvature[:, None]
    curvature = np.where(np.abs(curvature) < STRAIGHT / 1e4, STRAIGHT / 1e4, curvature)
    # the centre of the circle, its distance from the beam, and the angle at which it is crossed
    cx, cy = x - np.sin(phi) / curvature, y + np.cos(phi) / curvature
    distance, bend = np.hypot(cx, cy), 1 / np.abs(curvature)
    inside = np.hypot(x, y) < radius
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (distance**2 + bend**2 - radius**2) / (2 * distance * bend)
        angle = np.where(np.abs(cosine) <= 1, np.arccos(np.clip(cosine, -1, 1)), np.nan)
    sign = np.sign(curvature)
    start = np.arctan2(y - cy, x - cx)  # as seen from the centre
    inward = np.arctan2(-cy, -cx)
    turns = [np.mod(sign * (inward + side * angle - start), 2 * np.pi) for side in (-1, 1)]
    first = np.fmin(*turns)
    return np.where(inside, first * bend, np.nan)


def to_plane(helices: Helices, centre: np.ndarray, normal: np.ndarray, *, steps: int = 3) -> np.ndarray:
    """Return the transverse lengths to planes near by, one for each state, by Newton's method."""
    length = np.zeros(len(helices))
    for _ in range(steps):
        here = advance(helices, length)
        away = ((centre - here.position) * normal).sum(axis=1)
        rate = (here.direction * normal).sum(axis=1)
        rate = np.where(np.abs(rate) < 1e-2, np.copysign(1e-2, rate), rate)
        length = length + away / rate
    return length
