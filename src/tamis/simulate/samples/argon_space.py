"""Directions and energy deposits in liquid argon."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Deposits:
    """Energies deposited at positions, each along a length of track."""

    event: np.ndarray
    label: np.ndarray
    place: np.ndarray  # (n, 3) in cm: along the wires' normal, along the drift, along the wires
    energy: np.ndarray  # in MeV
    length: np.ndarray  # in cm


def concatenate_deposits(parts: list[Deposits]) -> Deposits:
    """Concatenate sets of deposits."""
    return Deposits(
        np.concatenate([p.event for p in parts]),
        np.concatenate([p.label for p in parts]),
        np.concatenate([p.place for p in parts]),
        np.concatenate([p.energy for p in parts]),
        np.concatenate([p.length for p in parts]),
    )


def isotropic(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return isotropic directions (n, 3)."""
    return normalised(rng.standard_normal((n, 3)))


def normalised(vectors: np.ndarray) -> np.ndarray:
    """Return unit vectors."""
    unit: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return unit


def scattered(heading: np.ndarray, angle: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return directions after scattering by random angles with this standard deviation in each of two planes."""
    kick = rng.standard_normal(heading.shape) * np.tan(angle)[:, None]
    kick -= (kick * heading).sum(axis=1, keepdims=True) * heading
    return normalised(heading + kick)
