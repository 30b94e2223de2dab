"""Clusters of photons in a crystal calorimeter: 15 x 15 crystals around the hardest, with detector effects.

Showers leak out at the back, deep ones more; there are gaps between modules; photons convert, and the field separates
the pairs in phi; crystals have noise and calibration errors, and some are dead; pile-up adds energy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.simulate.samples.ecal_shower import ETA_GAPS, PHI_MODULE, contained, lateral
from tamis.simulate.seeds import Seeds
from tamis.simulate.showers import TRACKER_MATERIAL_ETA, TRACKER_MATERIAL_X0

CLUSTER_SIZE = 15
BARREL_RINGS = 85  # of crystals on each side
ETA_PER_CRYSTAL = 0.0174
PHOTON_ENERGY_GEV = (5.0, 500.0)
CRYSTALS_PER_GEV = 43.0  # displacement of a leg of 1 GeV after the whole way: angle times distance over width
STOCHASTIC, INTERCALIBRATION, NOISE_GEV, DEAD = 0.028, 0.005, 0.045, 0.005
PILE_UP_GEV, PILE_UP_PER_DENSITY = 0.3, 0.2
SHARE_5X5, SHARE_15X15 = 0.952, 0.984  # containment of a photon in the middle of a module


@dataclass(frozen=True)
class Photons:
    """Photons at the calorimeter."""

    energy: np.ndarray
    ieta: np.ndarray  # 1 to 85, of the crystal hit
    iphi: np.ndarray  # 1 to 360
    inside: np.ndarray  # (n, 2): position in the crystal, -0.5 to 0.5
    apart: np.ndarray  # (n, 2): displacement of both legs in phi, in crystals; zero without conversion
    share: np.ndarray  # energy fraction of the first leg


def make_clusters(n: int, seeds: Seeds) -> dict[str, np.ndarray]:
    """Return images (n, 2, 15, 15) of energies and live crystals, their positions, the true energy, and simple sums."""
    photons = _photons(n, seeds.stream("photons"))
    energy = deposited(photons, seeds.stream("showers"))
    rng = seeds.stream("readout")
    density = rng.gamma(5.0, 4.0, n)
    energy += _pile_up(density, rng)
    width = np.hypot(
        STOCHASTIC * np.sqrt(energy), NOISE_GEV * (1.0 + photons.ieta[:, None, None] / BARREL_RINGS)
    )
    seen = energy * (1.0 + INTERCALIBRATION * rng.standard_normal(energy.shape))
    seen += width * rng.standard_normal(energy.shape)
    alive = rng.random(energy.shape) >= DEAD
    seen *= alive
    middle = slice(CLUSTER_SIZE // 2 - 2, CLUSTER_SIZE // 2 + 3)
    added = PILE_UP_GEV * PILE_UP_PER_DENSITY * density
    places = np.column_stack([photons.ieta, photons.iphi, density])
    return {
        "images": np.stack([seen, alive], axis=1).astype(np.float32),
        "places": places.astype(np.float32),
        "energy": photons.energy.astype(np.float32),
        "sum_5x5": (seen[:, middle, middle].sum(axis=(1, 2)) / SHARE_5X5).astype(np.float32),
        "sum_15x15": ((seen.sum(axis=(1, 2)) - added) / SHARE_15X15).astype(np.float32),
    }


def _photons(n: int, rng: np.random.Generator) -> Photons:
    low, high = np.log(PHOTON_ENERGY_GEV)
    energy = np.exp(rng.uniform(low, high, n))
    ieta, iphi = rng.integers(1, BARREL_RINGS + 1, n), rng.integers(1, 361, n)
    eta = (ieta - 0.5) * ETA_PER_CRYSTAL
    converts = rng.random(n) < 1.0 - np.exp(
        -7.0 / 9.0 * np.interp(eta, TRACKER_MATERIAL_ETA, TRACKER_MATERIAL_X0)
    )
    share, depth = rng.random(n), rng.uniform(0.03, 0.85, n)
    bend = CRYSTALS_PER_GEV * (1.0 - depth) ** 2 * converts / (energy / np.cosh(eta))
    apart = np.column_stack([bend / np.maximum(share, 0.02), -bend / np.maximum(1.0 - share, 0.02)])
    apart -= np.where(share >= 0.5, apart[:, 0], apart[:, 1])[:, None]  # the harder leg defines the centre
    return Photons(energy, ieta, iphi, rng.uniform(-0.5, 0.5, (n, 2)), apart, share)


def deposited(photons: Photons, rng: np.random.Generator) -> np.ndarray:
    """Return the energy (n, 15, 15) in the crystals; rows are rings in eta."""
    inside, widening = contained(photons.energy, rng)
    energy = np.zeros((len(photons.energy), CLUSTER_SIZE, CLUSTER_SIZE))
    steps = np.arange(CLUSTER_SIZE) - CLUSTER_SIZE // 2
    rings = _gaps(photons.ieta[:, None] + steps, ETA_GAPS)
    columns = _gaps(photons.iphi[:, None] + steps, tuple(range(PHI_MODULE, 361, PHI_MODULE)))
    for leg, share in enumerate((photons.share, 1.0 - photons.share)):
        phi = photons.inside[:, 1] + photons.apart[:, leg]
        spread = lateral(photons.inside[:, 0], phi, rings, columns, widening)
        energy += (share * photons.energy * inside)[:, None, None] * spread
    absent = (photons.ieta[:, None] + steps > BARREL_RINGS)[:, :, None]  # beyond the end of the barrel
    return np.where(absent, 0.0, energy)


def _gaps(crystal: np.ndarray, after: tuple[int, ...]) -> np.ndarray:
    """Return a mask of the crystals with a gap after them."""
    return np.isin(crystal, after)


def _pile_up(density: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the energy (n, 15, 15) of soft particles, whose number is proportional to the density."""
    n = len(density)
    count = rng.poisson(PILE_UP_PER_DENSITY * density)
    row = np.repeat(np.arange(n), count)
    cell = row * CLUSTER_SIZE * CLUSTER_SIZE + rng.integers(0, CLUSTER_SIZE * CLUSTER_SIZE, len(row))
    energy = np.bincount(
        cell, rng.exponential(PILE_UP_GEV, len(row)), minlength=n * CLUSTER_SIZE * CLUSTER_SIZE
    )
    return energy.reshape(n, CLUSTER_SIZE, CLUSTER_SIZE)
