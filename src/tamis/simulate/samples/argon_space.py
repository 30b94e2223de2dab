"""Directions, and what particles leave along their way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Deposits:
    """Energy left at places, each over a length of track."""

    event: np.ndarray
    label: np.ndarray
    place: np.ndarray  # (n, 3) in cm: along the wires' normal, along the drift, along the wires
    energy: np.ndarray  # in MeV
    length: np.ndarray  # in cm


def joined(parts: list[Deposits]) -> Deposits:
    """Put deposits into one set."""
    return Deposits(
        np.concatenate([p.event for p in parts]),
        np.concatenate([p.label for p in parts]),
        np.concatenate([p.place for p in parts]),
        np.concatenate([p.energy for p in parts]),
        np.concatenate([p.length for p in parts]),
    )


def isotropic(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return directions (n, 3), all alike."""
    return normalised(rng.standard_normal((n, 3)))


def normalised(vectors: np.ndarray) -> np.ndarray:
    """Return vectors of length one."""
    found: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return found


def scattered(heading: np.ndarray, angle: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return directions after scattering by angles of this width in each of two planes."""
    kick = rng.standard_normal(heading.shape) * np.tan(angle)[:, None]
    kick -= (kick * heading).sum(axis=1, keepdims=True) * heading
    return normalised(heading + kick)
