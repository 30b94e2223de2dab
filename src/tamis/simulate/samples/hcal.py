"""Channels of a hadron calorimeter with silicon photomultipliers: deposited energies and digitised charges.

The energy of every bunch crossing gives a pulse that is longer than the 25 ns between crossings. The simulation includes
fluctuations of photoelectrons, dark counts, amplifier noise, and a digitiser with steps that grow with the charge. The
parameters have the size of those of CMS's upgraded detector, but are not taken from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.simulate.samples.hcal_pulse import (
    CROSSINGS,
    IN_TIME,
    fractions,
    method_0,
    template_fit,
)
from tamis.simulate.seeds import Seeds

# Rings of channels: first and last |ieta|, cells in phi, depths. 16,560 channels in all.
CHANNEL_RINGS = ((1, 16, 72, 4), (17, 20, 72, 6), (21, 29, 36, 6))
BARREL_END, LAST_RING = 16, 29
FC_PER_PE = 40.0
PE_PER_GEV = 22.0  # of a new channel in the barrel
CALIBRATION_SPREAD, MISCALIBRATION = 0.08, 0.02  # known for each channel; unknown
AMPLIFIER_FC, STEP_FC, STEP_RELATIVE = 8.0, 3.1, 0.04
GAIN_SPREAD_PER_PE = 0.3
JITTER_NS = 1.5
EMPTY_FRACTION = 0.25  # of channels without in-time energy
CHANNEL_ENERGY_GEV = (0.05, 300.0)
HARD_PILE_UP, HARD_PILE_UP_GEV = 0.01, 30.0


@dataclass(frozen=True)
class Channels:
    """Positions, calibration and dark counts of channels."""

    ieta: np.ndarray
    iphi: np.ndarray
    depth: np.ndarray
    gain: np.ndarray  # GeV/fC, as calibrated
    dark: np.ndarray  # photoelectrons in 25 ns

    @property
    def pedestal(self) -> np.ndarray:
        """Return the mean charge of an empty sample in fC."""
        return 5.0 + FC_PER_PE * self.dark

    @property
    def pedestal_width(self) -> np.ndarray:
        """Return the standard deviation of the charge of an empty sample in fC."""
        return np.hypot(FC_PER_PE * np.sqrt(self.dark), AMPLIFIER_FC)


def make_channels(n: int, seeds: Seeds) -> dict[str, np.ndarray]:
    """Return the inputs (n, 15), the in-time energy, and the energies of two simple reconstructions."""
    channels = _channels(n, seeds.stream("channels"))
    energy = _energies(channels, seeds.stream("energies"))
    charge = digitised_charge(channels, energy, seeds.stream("charges"))
    inputs = np.column_stack(
        [
            charge,  # in each time sample, fC
            channels.pedestal,  # fC
            channels.pedestal_width,  # fC
            channels.gain,  # GeV/fC
            channels.ieta,
            channels.iphi,
            channels.depth,
            charge.sum(axis=1),  # fC
        ]
    ).astype(np.float32)
    return {
        "channels": inputs,
        "energy": energy[:, IN_TIME].astype(np.float32),
        "method_0": method_0(inputs).astype(np.float32),
        "template_fit": template_fit(inputs).astype(np.float32),
    }


def _channels(n: int, rng: np.random.Generator) -> Channels:
    rings = []
    for first, last, phis, depths in CHANNEL_RINGS:
        grids = np.meshgrid(
            np.arange(first, last + 1), np.arange(phis) * (72 // phis) + 1, np.arange(1, depths + 1)
        )
        rings.append(np.column_stack([grid.ravel() for grid in grids]))
    table = np.concatenate(rings)
    ieta, iphi, depth = table[rng.integers(0, len(table), n)].T
    ieta = ieta * np.where(rng.random(n) < 0.5, -1, 1)
    aged = np.clip((np.abs(ieta) - BARREL_END) / (LAST_RING - BARREL_END), 0.0, 1.0)
    light = PE_PER_GEV * (1.0 - 0.45 * aged) * (1.0 - 0.05 * (depth - 1))
    light *= 1.0 + CALIBRATION_SPREAD * np.clip(rng.standard_normal(n), -3, 3)
    dark = (1.5 + 4.0 * aged) * np.exp(0.2 * rng.standard_normal(n))
    return Channels(ieta, iphi, depth, 1.0 / (FC_PER_PE * light), dark)


def _energies(channels: Channels, rng: np.random.Generator) -> np.ndarray:
    """Return the energies (n, crossings) in GeV: a broad spectrum in time, pile-up in the other crossings."""
    n = len(channels.ieta)
    forward = np.abs(channels.ieta) / LAST_RING
    mean = (0.5 + 2.0 * forward) / channels.depth
    occupied = rng.random((n, CROSSINGS)) < (0.25 + 0.35 * forward)[:, None]
    energy = np.where(occupied, rng.exponential(mean[:, None], (n, CROSSINGS)), 0.0)
    hard = rng.random((n, CROSSINGS)) < HARD_PILE_UP
    energy += np.where(hard, rng.exponential(HARD_PILE_UP_GEV, (n, CROSSINGS)), 0.0)
    low, high = np.log(CHANNEL_ENERGY_GEV)
    in_time = np.exp(low + (high - low) * rng.random(n) ** 1.5)  # soft energies are more frequent
    energy[:, IN_TIME] = np.where(rng.random(n) < EMPTY_FRACTION, 0.0, in_time)
    return energy


def digitised_charge(channels: Channels, energy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the charges (n, samples) in fC."""
    n = len(energy)
    light = 1.0 / (FC_PER_PE * channels.gain) * (1.0 + MISCALIBRATION * rng.standard_normal(n))
    shape = fractions(JITTER_NS * rng.standard_normal((n, CROSSINGS)))
    expected = np.einsum("nk,nki->ni", energy, shape) * light[:, None]
    electrons = rng.poisson(expected + channels.dark[:, None]).astype(np.float64)
    spread = GAIN_SPREAD_PER_PE * np.sqrt(electrons) * rng.standard_normal(electrons.shape)
    charge = FC_PER_PE * (electrons + spread) + 5.0 + AMPLIFIER_FC * rng.standard_normal(electrons.shape)
    step = np.maximum(STEP_FC, STEP_RELATIVE * charge)
    return np.maximum(step * np.round(charge / step), 0.0)
