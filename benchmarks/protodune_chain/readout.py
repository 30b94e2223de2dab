"""Events of a liquid-argon chamber as they are read out: windows of the wire plane with pedestals and noise that boards share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.simulate.samples.argon_patches import WINDOW, windows
from tamis.simulate.seeds import Seeds

NUMBER = 203  # part of the seed: no sample that anything was trained or measured on
BOARD = 32  # wires that share an electronics board, and its noise
PEDESTAL_MEV, PEDESTAL_SPREAD_MEV = 10.0, 0.5
SHARED_MEV, SHARED_MEMORY = 0.10, 0.9  # noise of a board: its size, and what is left of it a cell later


@dataclass(frozen=True)
class Readout:
    """One event: what is read out (windows, wires, ticks) in MeV, and the true class of every cell."""

    raw: np.ndarray
    label: np.ndarray


def make_event(count: int, seed: int, number: int) -> Readout:
    """Make an event of so many windows; the result depends on the seed and the event's number alone."""
    seeds = Seeds(seed, NUMBER, number)
    seen, charge = windows(count, seeds)
    rng = seeds.stream("boards")
    pedestal = PEDESTAL_MEV + PEDESTAL_SPREAD_MEV * rng.standard_normal((count, WINDOW, 1))
    shared = np.repeat(_shared(count, rng), BOARD, axis=1)
    dead = (seen == 0.0).all(axis=2, keepdims=True)
    raw = seen + np.where(dead, 0.0, pedestal + shared)
    return Readout(raw.astype(np.float32), charge.argmax(axis=1).astype(np.int8))


def _shared(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the noise (windows, boards, ticks) that all wires of a board see."""
    kicks = (
        SHARED_MEV * np.sqrt(1.0 - SHARED_MEMORY**2) * rng.standard_normal((count, WINDOW // BOARD, WINDOW))
    )
    found = np.empty_like(kicks)
    found[..., 0] = SHARED_MEV * rng.standard_normal(kicks.shape[:2])
    for tick in range(1, WINDOW):
        found[..., tick] = SHARED_MEMORY * found[..., tick - 1] + kicks[..., tick]
    return found
