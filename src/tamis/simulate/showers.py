"""What calorimeters see of every particle, tracked or not: showers, before they are shared out to cells.

Electrons radiate and photons convert in the material of the tracker; the field takes the pieces apart in phi. Hadrons
begin to shower in the electromagnetic calorimeter or pass it. In the manner of a fast simulation: shares and
probabilities of the right size, no transport.
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
# Material of the tracker in radiation lengths, by |eta|.
MATERIAL_ETA = (0.0, 0.8, 1.5, 2.0, 3.0)
MATERIAL = (0.40, 0.55, 1.60, 1.40, 1.10)
RADIATIONS_MAX = 3
SOFTEST_RADIATION = 0.02  # of the electron's energy
RADIATIONS_PER_LENGTH = 4.0  # -4/3 ln(0.02) - 1.2 of the Bethe-Heitler spectrum above the softest
DEPTHS = (0.03, 0.85)  # between which share of the way to the calorimeter the material lies
SPLIT_PT_MIN_GEV = 1.0  # softer ones are one shower, whatever happened to them
PASSES = 0.4  # share of hadrons that leave only a minimum-ionising trace in the electromagnetic calorimeter
HADRON_SHARE = (0.05, 0.75)  # of the energy in the electromagnetic calorimeter, of those that shower there
TRACE_GEV = 0.3  # of a minimum-ionising particle in the electromagnetic calorimeter


@dataclass(frozen=True)
class Showers:
    """Energy at a place, in event order."""

    event: np.ndarray
    eta: np.ndarray
    phi: np.ndarray
    energy: np.ndarray

    def take(self, rows: np.ndarray) -> Showers:
        """Return the showers that a mask or an index array keeps."""
        return Showers(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def joined(*parts: Showers) -> Showers:
    """Put showers into one set, in event order."""
    both = Showers(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Showers)})
    return both.take(np.argsort(both.event, kind="stable"))


def electromagnetic(particles: Particles, place: Crossing, seeds: Seeds) -> Showers:
    """Return the showers of electrons and photons."""
    electron = np.abs(particles.pdg_id) == 11
    material = np.interp(np.abs(particles.eta), MATERIAL_ETA, MATERIAL)
    whole = Showers(particles.event, place.eta, place.phi, particles.energy)
    hard = particles.pt > SPLIT_PT_MIN_GEV
    converts = seeds.stream("conversion").random(len(particles)) < 1.0 - np.exp(-7.0 / 9.0 * material)
    converted, radiating = hard & ~electron & converts, hard & electron
    return joined(
        whole.take(~converted & ~radiating),
        _pairs(whole.take(converted), particles.take(converted), seeds),
        _radiation(
            whole.take(radiating),
            particles.take(radiating),
            place.bend[radiating],
            material[radiating],
            seeds,
        ),
    )


def _pairs(photons: Showers, particles: Particles, seeds: Seeds) -> Showers:
    """Return electron and positron of each photon that converted; one that the field curls up is lost."""
    share, depth = seeds.stream("conversion kinematics").random((len(photons.event), 2)).T
    depth = DEPTHS[0] + (DEPTHS[1] - DEPTHS[0]) * depth
    legs = []
    for sign, part in ((1.0, share), (-1.0, 1.0 - share)):
        bend = _bend(particles, part)
        leg = Showers(
            photons.event,
            photons.eta,
            wrap_phi(photons.phi + sign * np.where(np.isfinite(bend), bend, 0.0) * (1.0 - depth) ** 2),
            part * photons.energy,
        )
        legs.append(leg.take(np.isfinite(bend)))
    return joined(*legs)


def _bend(particles: Particles, share: np.ndarray) -> np.ndarray:
    """Return the bend over the whole way for a share of the momentum, or infinity where it does not arrive."""
    reach = np.minimum(
        ECAL_CYLINDER.radius_cm,
        ECAL_CYLINDER.half_length_cm / np.maximum(np.abs(np.sinh(particles.eta)), 1e-9),
    )
    ratio = reach / np.maximum(2.0 * RADIUS_CM_PER_GEV * particles.pt * share, 1e-9)
    return np.where(ratio < 1.0, np.arcsin(np.minimum(ratio, 1.0)), np.inf)


def _radiation(
    electrons: Showers, particles: Particles, bend: np.ndarray, material: np.ndarray, seeds: Seeds
) -> Showers:
    """Return each electron and up to three photons of it, which fly on along the tangent where they were radiated.

    Lengths are in units of the way to the calorimeter, `aside` and `heading` in radians seen from the beam.
    """
    n = len(electrons.event)
    draws = seeds.stream("radiation").random((n, 2, RADIATIONS_MAX))
    count = seeds.stream("radiation number").poisson(RADIATIONS_PER_LENGTH * material)
    depths = DEPTHS[0] + (DEPTHS[1] - DEPTHS[0]) * np.sort(draws[:, 0], axis=1)
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
    return joined(Showers(electrons.event, electrons.eta, wrap_phi(phi), energy), *parts)


def hadronic(particles: Particles, seeds: Seeds) -> np.ndarray:
    """Return what hadrons and muons leave in the electromagnetic calorimeter."""
    muon = np.abs(particles.pdg_id) == 13
    passes, share = seeds.stream("hadron showers").random((len(particles), 2)).T
    low, high = HADRON_SHARE
    trace = muon | (passes < PASSES)
    ionising = np.where(particles.charge != 0, np.minimum(TRACE_GEV, particles.energy), 0.0)
    return np.where(trace, ionising, (low + (high - low) * share) * particles.energy)
