"""What matter does to a particle: multiple scattering, energy loss, radiation of electrons, and interactions of hadrons."""

from __future__ import annotations

import numpy as np

PARTICLE_MASSES_GEV = {11: 0.000511, 13: 0.10566, 211: 0.13957, 321: 0.49368, 2212: 0.93827}
HADRONS = (211, 321, 2212)
SILICON_X0_MM, SILICON_INTERACTION_MM = 95.7, 465.2
ELECTRON_MASS_MEV, EXCITATION_MEV = 0.510999, 173e-6


def masses_of(pdg_id: np.ndarray) -> np.ndarray:
    """Return masses in GeV; a particle of another kind counts as a pion."""
    kind = np.abs(pdg_id)
    result = np.full(len(kind), PARTICLE_MASSES_GEV[211])
    for number, mass in PARTICLE_MASSES_GEV.items():
        result[kind == number] = mass
    return result


def scattering_angle(momentum: np.ndarray, mass: np.ndarray, thickness: np.ndarray) -> np.ndarray:
    """Return the width of the projected angle after radiation lengths of matter, by Highland's formula (PDG review 34.16)."""
    beta = momentum / np.hypot(momentum, mass)
    thickness = np.maximum(thickness, 1e-6)
    result: np.ndarray = (
        0.0136 / (beta * momentum) * np.sqrt(thickness) * (1 + 0.038 * np.log(thickness / beta**2))
    )
    return np.maximum(result, 0.0)


def mean_energy_loss(momentum: np.ndarray, mass: np.ndarray, thickness: np.ndarray) -> np.ndarray:
    """Return the most probable energy loss in GeV in silicon of these radiation lengths (PDG review 34.12)."""
    energy = np.hypot(momentum, mass)
    beta2 = (momentum / energy) ** 2
    gamma2 = (energy / mass) ** 2
    xi = 0.153537 * (14 / 28.0855) * 2.329 * (thickness * SILICON_X0_MM / 10) / beta2  # MeV
    log = np.log(2 * ELECTRON_MASS_MEV * beta2 * gamma2 / EXCITATION_MEV) + np.log(
        np.maximum(xi, 1e-9) / EXCITATION_MEV
    )
    plasma = 31.05e-6  # MeV
    density = np.log(np.maximum(plasma / EXCITATION_MEV * np.sqrt(np.maximum(gamma2 - 1, 1e-9)), 1e-9)) - 0.5
    loss = xi * (log + 0.2 - beta2 - 2 * np.maximum(density, 0))
    return np.maximum(loss, 0.0) * 1e-3


def landau_width(momentum: np.ndarray, mass: np.ndarray, thickness: np.ndarray) -> np.ndarray:
    """Return the scale of the fluctuations of the energy loss, in GeV."""
    beta2 = (momentum / np.hypot(momentum, mass)) ** 2
    result: np.ndarray = 0.153537e-3 * (14 / 28.0855) * 2.329 * (thickness * SILICON_X0_MM / 10) / beta2
    return result


def kept_by_electrons(thickness: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return the fractions of energy that electrons keep after radiation lengths, by Bethe and Heitler."""
    return np.exp(-random.gamma(np.maximum(thickness, 1e-6) / np.log(2)))


def interacts(pdg_id: np.ndarray, thickness: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return which hadrons interact and are lost in silicon of these radiation lengths."""
    probability = 1 - np.exp(-thickness * SILICON_X0_MM / SILICON_INTERACTION_MM)
    return np.isin(np.abs(pdg_id), HADRONS) & (random.random(len(pdg_id)) < probability)
