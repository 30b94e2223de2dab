"""Muons, pions and protons in liquid argon: scattering, energy loss with fluctuations, and the Bragg peak."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.simulate.samples.argon_cascade import X0_CM
from tamis.simulate.samples.argon_space import Deposits, isotropic, normalised

TRACK_STEP_CM = 0.3
MIP_MEV_PER_CM = 2.1
RANGE_POWER = 0.42  # dE/dx falls with this power of the residual range
MUON_RISE, PROTON_RISE = 8.0, 17.0  # MeV/cm at a residual range of 1 cm
MUON_MEV, PROTON_MEV = 105.7, 938.3


@dataclass(frozen=True)
class ArgonTracks:
    """Tracks at their start."""

    event: np.ndarray
    place: np.ndarray
    heading: np.ndarray
    length: np.ndarray  # in cm, that is simulated
    residual_range: np.ndarray  # at the start, in cm
    proton: np.ndarray


def follow(tracks: ArgonTracks, label: int, rng: np.random.Generator) -> tuple[Deposits, np.ndarray]:
    """Return the deposits of tracks, and the end of each."""
    n = len(tracks.event)
    steps = np.ceil(tracks.length / TRACK_STEP_CM).astype(np.int64)
    most = int(steps.max(initial=1))
    along = np.minimum((np.arange(most) + 0.5) * TRACK_STEP_CM, 1e6)[None, :]
    inside = np.arange(most)[None, :] < steps[:, None]
    residual = np.maximum(tracks.residual_range[:, None] - along, 0.1)
    rise = np.where(tracks.proton, PROTON_RISE, MUON_RISE)[:, None]
    mass = np.where(tracks.proton, PROTON_MEV, MUON_MEV)[:, None]
    kinetic = rise / (1.0 - RANGE_POWER) * residual ** (1.0 - RANGE_POWER)
    momentum = np.sqrt(kinetic * (kinetic + 2.0 * mass))
    angle = 13.6 * (kinetic + mass) / momentum**2 * np.sqrt(TRACK_STEP_CM / X0_CM)
    kicks = rng.standard_normal((n, most, 2)) * np.minimum(angle, 0.3)[:, :, None]
    other = isotropic(n, rng)
    first = normalised(other - (other * tracks.heading).sum(axis=1, keepdims=True) * tracks.heading)
    second = np.cross(tracks.heading, first)  # both perpendicular to the track
    bends = np.cumsum(kicks, axis=1)
    heading = normalised(
        tracks.heading[:, None] + bends[:, :, :1] * first[:, None] + bends[:, :, 1:] * second[:, None]
    )
    ends = tracks.place[:, None] + np.cumsum(heading * TRACK_STEP_CM, axis=1)
    loss = np.maximum(rise * residual**-RANGE_POWER, MIP_MEV_PER_CM) * TRACK_STEP_CM
    # fluctuations with mean 1 and the long tail of thin layers (Moyal distribution: mode 0, mean 1.27)
    moyal = -np.log(np.maximum(rng.standard_normal(loss.shape) ** 2, 1e-6))
    energy = loss * np.maximum(1.0 + 0.12 * (moyal - 1.27), 0.4)
    rows, columns = np.nonzero(inside)
    deposits = Deposits(
        tracks.event[rows],
        np.full(len(rows), label),
        (ends - 0.5 * TRACK_STEP_CM * heading)[rows, columns],
        energy[rows, columns],
        np.full(len(rows), TRACK_STEP_CM),
    )
    return deposits, ends[np.arange(n), np.maximum(steps - 1, 0)]


def range_cm(kinetic_mev: np.ndarray, *, proton: bool) -> np.ndarray:
    """Return the range of particles with this kinetic energy."""
    rise = PROTON_RISE if proton else MUON_RISE
    length: np.ndarray = (kinetic_mev * (1.0 - RANGE_POWER) / rise) ** (1.0 / (1.0 - RANGE_POWER))
    return length
