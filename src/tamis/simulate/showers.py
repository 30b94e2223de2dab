"""Showers of all particles, tracked or not, before they are shared among cells.

Electrons radiate and photons convert in the material of the tracker; the field separates the products in phi. Hadrons
start to shower in the electromagnetic calorimeter or pass through it. A fast simulation: fractions and probabilities of
realistic size, without transport.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from tamis.events.kinematics import wrap_phi
from tamis.simulate.flight import RADIUS_CM_PER_GEV, Crossing, Cylinder
from tamis.simulate.particles import Particles
from tamis.simulate.seeds import Seeds

ECAL_CYLINDER = Cylinder(129.0, 317.0, closed=True)
HCAL_CYLINDER = Cylinder(190.0, 400.0, closed=True)
# Material of the tracker in radiation lengths at some |eta|, interpolated in between.
TRACKER_MATERIAL_ETA = (0.0, 0.8, 1.5, 2.0, 3.0)
TRACKER_MATERIAL_X0 = (0.40, 0.55, 1.60, 1.40, 1.10)
RADIATIONS_MAX = 3
SOFTEST_RADIATION = 0.02  # smallest fraction of the electron's energy that is radiated
RADIATIONS_PER_LENGTH = 4.0  # -4/3 ln(0.02) - 1.2: Bethe-Heitler spectrum above the softest
MATERIAL_RANGE = (0.03, 0.85)  # of the material, as fractions of the way to the calorimeter
SPLIT_PT_MIN_GEV = 1.0  # softer electrons and photons are one shower each
PASSING_FRACTION = (
    0.4  # of hadrons, which leave only a minimum-ionising trace in the electromagnetic calorimeter
)
HADRON_SHARE = (
    0.05,
    0.75,
)  # range of the fraction that showering hadrons deposit in the electromagnetic calorimeter
TRACE_GEV = 0.3  # deposit of a minimum-ionising particle in the electromagnetic calorimeter


@dataclass(frozen=True)
class Showers:
    """Energies at positions, in event order."""

    event: np.ndarray
    eta: np.ndarray
    phi: np.ndarray
    energy: np.ndarray

    def take(self, rows: np.ndarray) -> Showers:
        """Return the showers selected by a mask or by indices."""
        return Showers(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def concatenate_showers(*parts: Showers) -> Showers:
    """Return all showers in event order."""
    both = Showers(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Showers)})
    return both.take(np.argsort(both.event, kind="stable"))


def electromagnetic(particles: Particles, crossing: Crossing, seeds: Seeds) -> Showers:
    """Return the showers of electrons and photons."""
    electron = np.abs(particles.pdg_id) == 11
    material = np.interp(np.abs(particles.eta), TRACKER_MATERIAL_ETA, TRACKER_MATERIAL_X0)
    whole = Showers(particles.event, crossing.eta, crossing.phi, particles.energy)
    hard = particles.pt > SPLIT_PT_MIN_GEV
    converts = seeds.stream("conversion").random(len(particles)) < 1.0 - np.exp(-7.0 / 9.0 * material)
    converted, radiating = hard & ~electron & converts, hard & electron
    return concatenate_showers(
        whole.take(~converted & ~radiating),
        _pairs(whole.take(converted), particles.take(converted), seeds),
        _radiation(
            whole.take(radiating),
            particles.take(radiating),
            crossing.bend[radiating],
            material[radiating],
            seeds,
        ),
    )


def _pairs(photons: Showers, particles: Particles, seeds: Seeds) -> Showers:
    """Return electron and positron of each converted photon, except those that the field curls up."""
    share, depth = seeds.stream("conversion kinematics").random((len(photons.event), 2)).T
    depth = MATERIAL_RANGE[0] + (MATERIAL_RANGE[1] - MATERIAL_RANGE[0]) * depth
    reach = np.minimum(
        ECAL_CYLINDER.radius_cm,
        ECAL_CYLINDER.half_length_cm / np.maximum(np.abs(np.sinh(particles.eta)), 1e-9),
    )
    legs = []
    for sign, part in ((1.0, share), (-1.0, 1.0 - share)):
        ratio = reach / np.maximum(2.0 * RADIUS_CM_PER_GEV * particles.pt * part, 1e-9)
        # the total bending angle, or infinity where the leg does not arrive
        bend = np.where(ratio < 1.0, np.arcsin(np.minimum(ratio, 1.0)), np.inf)
        leg = Showers(
            photons.event,
            photons.eta,
            wrap_phi(photons.phi + sign * np.where(np.isfinite(bend), bend, 0.0) * (1.0 - depth) ** 2),
            part * photons.energy,
        )
        legs.append(leg.take(np.isfinite(bend)))
    return concatenate_showers(*legs)


def _radiation(
    electrons: Showers, particles: Particles, bend: np.ndarray, material: np.ndarray, seeds: Seeds
) -> Showers:
    """Return each electron and up to three radiated photons, which fly on along the tangent.

    Lengths are fractions of the way to the calorimeter; `aside` and `heading` are in radians, seen from the beam.
    """
    n = len(electrons.event)
    draws = seeds.stream("radiation").random((n, 2, RADIATIONS_MAX))
    count = seeds.stream("radiation number").poisson(RADIATIONS_PER_LENGTH * material)
    depths = MATERIAL_RANGE[0] + (MATERIAL_RANGE[1] - MATERIAL_RANGE[0]) * np.sort(draws[:, 0], axis=1)
    straight = electrons.phi + np.sign(particles.charge) * bend
    aside, heading, depth = np.zeros(n), np.zeros(n), np.zeros(n)
    curvature, energy = 2.0 * bend, electrons.energy
    parts = []
    for slot in range(RADIATIONS_MAX):
        step = depths[:, slot] - depth
        aside, heading, depth = (
            aside + heading * step + 0.5 * curvature * step**2,
            heading + curvature * step,
            depths[:, slot],
        )
        lost = np.where(slot < count, np.minimum(SOFTEST_RADIATION ** draws[:, 1, slot], 0.95), 0.0)
        phi = straight - np.sign(particles.charge) * (aside + heading * (1.0 - depth))
        photon = Showers(electrons.event, electrons.eta, wrap_phi(phi), lost * energy)
        parts.append(photon.take(slot < count))
        energy, curvature = energy * (1.0 - lost), curvature / (1.0 - lost)
    step = 1.0 - depth
    phi = straight - np.sign(particles.charge) * (aside + heading * step + 0.5 * curvature * step**2)
    return concatenate_showers(Showers(electrons.event, electrons.eta, wrap_phi(phi), energy), *parts)


def hadronic(particles: Particles, seeds: Seeds) -> np.ndarray:
    """Return the energies that hadrons and muons deposit in the electromagnetic calorimeter."""
    muon = np.abs(particles.pdg_id) == 13
    passes, share = seeds.stream("hadron showers").random((len(particles), 2)).T
    low, high = HADRON_SHARE
    trace = muon | (passes < PASSING_FRACTION)
    ionising = np.where(particles.charge != 0, np.minimum(TRACE_GEV, particles.energy), 0.0)
    return np.where(trace, ionising, (low + (high - low) * share) * particles.energy)
