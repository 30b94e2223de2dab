"""Where particles cross cylinders around the beam: helices in the field of the solenoid, straight lines for neutral ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.events.kinematics import pseudorapidity, wrap_phi
from tamis.simulate.particles import Particles

FIELD_TESLA = 3.8
RADIUS_CM_PER_GEV = 100.0 / (0.299792458 * FIELD_TESLA)  # radius of curvature of a transverse momentum


@dataclass(frozen=True)
class Cylinder:
    """A barrel; `closed` adds the end-caps of a calorimeter."""

    radius_cm: float
    half_length_cm: float
    closed: bool = False


@dataclass(frozen=True)
class Crossing:
    """The position where each particle crosses, as seen from the centre of the detector."""

    eta: np.ndarray
    phi: np.ndarray
    bend: np.ndarray  # absolute angle by which the field has moved it
    reached: np.ndarray  # bool; the other columns are meaningless where it is False

    def take(self, rows: np.ndarray) -> Crossing:
        """Return the crossings of some particles."""
        return Crossing(self.eta[rows], self.phi[rows], self.bend[rows], self.reached[rows])


def cross(particles: Particles, z0_cm: np.ndarray, cylinder: Cylinder) -> Crossing:
    """Propagate every particle from its point of closest approach to the beam, at z = `z0_cm`."""
    charged = particles.charge != 0
    diameter = 2.0 * RADIUS_CM_PER_GEV * particles.pt
    slope = np.sinh(particles.eta)
    ratio = np.where(charged, cylinder.radius_cm / diameter, 0.0)
    curls = ratio >= 1.0
    bend = np.arcsin(np.minimum(ratio, 1.0))
    path = np.where(charged, diameter * bend, cylinder.radius_cm)
    z = z0_cm + path * slope
    radius = np.full(len(z), cylinder.radius_cm)
    reached = (np.abs(z) < cylinder.half_length_cm) & ~curls
    if cylinder.closed:
        ahead = ~reached & (np.abs(slope) > 1e-6)
        end = np.copysign(cylinder.half_length_cm, slope)
        path = np.where(ahead, (end - z0_cm) / np.where(ahead, slope, 1.0), path)
        turn = np.where(charged, path / diameter, 0.0)
        radius = np.where(ahead, np.where(charged, diameter * np.sin(turn), path), radius)
        bend, z = np.where(ahead, turn, bend), np.where(ahead, end, z)
        reached |= ahead & (turn < np.pi / 2) & (path > 0)
    reached &= (radius > 0) & (particles.radius < radius)
    radius = np.where(reached, radius, 1.0)
    offset = np.arcsin(np.clip(particles.d0 / radius, -1.0, 1.0))
    phi = particles.phi - np.sign(particles.charge) * bend - offset
    return Crossing(pseudorapidity(radius, z), wrap_phi(phi), bend, reached)
