"""Raw events of a liquid-argon TPC: windows of the wire plane with pedestals and coherent noise of the electronics boards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.simulate.samples.argon_patches import WINDOW, windows
from tamis.simulate.seeds import Seeds

NUMBER = 203  # part of the seed; not used for training or other measurements
BOARD = 32  # wires per electronics board, which share its noise
PEDESTAL_MEV, PEDESTAL_SPREAD_MEV = 10.0, 0.5
SHARED_MEV, SHARED_MEMORY = 0.10, 0.9  # noise of a board in MeV, and its correlation from tick to tick


@dataclass(frozen=True)
class Readout:
    """One event: raw data (windows, wires, ticks) in MeV, and the true class of every cell."""

    raw: np.ndarray
    label: np.ndarray


def make_event(count: int, seed: int, number: int) -> Readout:
    """Return an event of `count` windows; it depends only on the seed and the event number."""
    seeds = Seeds(seed, NUMBER, number)
    seen, charge = windows(count, seeds)
    rng = seeds.stream("boards")
    pedestal = PEDESTAL_MEV + PEDESTAL_SPREAD_MEV * rng.standard_normal((count, WINDOW, 1))
    shared = np.repeat(_shared(count, rng), BOARD, axis=1)
    dead = (seen == 0.0).all(axis=2, keepdims=True)
    raw = seen + np.where(dead, 0.0, pedestal + shared)
    return Readout(raw.astype(np.float32), charge.argmax(axis=1).astype(np.int8))


def _shared(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the coherent noise (windows, boards, ticks), which is common to the wires of a board."""
    kicks = (
        SHARED_MEV * np.sqrt(1.0 - SHARED_MEMORY**2) * rng.standard_normal((count, WINDOW // BOARD, WINDOW))
    )
    found = np.empty_like(kicks)
    found[..., 0] = SHARED_MEV * rng.standard_normal(kicks.shape[:2])
    for tick in range(1, WINDOW):
        found[..., tick] = SHARED_MEMORY * found[..., tick - 1] + kicks[..., tick]
    return found
