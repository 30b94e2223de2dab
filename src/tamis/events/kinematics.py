"""Kinematics: angles, distances in (eta, phi), and pairs of objects of the same event. Each formula is here and nowhere else.

Transverse momenta are in GeV, azimuths phi in radians. Functions of arrays broadcast, and NaN propagates.
"""

from __future__ import annotations

import math

import numpy as np

# Particles whose decay products are prompt: t, Z, W, H, Z', Z'', W' (PDG Monte Carlo particle numbering scheme).
RESONANCES = (6, 23, 24, 25, 32, 33, 34)
GRAVITON = 5100039


def wrap_phi(phi: np.ndarray) -> np.ndarray:
    """Return azimuths moved into [-pi, pi)."""
    wrapped: np.ndarray = (phi + np.pi) % (2 * np.pi) - np.pi
    return wrapped


def delta_phi(phi: np.ndarray, other_phi: np.ndarray) -> np.ndarray:
    """Return phi - other_phi in [-pi, pi].

    Subtracts whole turns, so that a difference that needs no wrapping is not rounded a second time, as it would be by
    `wrap_phi`.
    """
    difference = phi - other_phi
    wrapped: np.ndarray = difference - 2 * np.pi * np.round(difference / (2 * np.pi))
    return wrapped


def delta_phi_of_floats(phi: float, other_phi: float) -> float:
    """Return the same for two Python floats, many times faster than through NumPy."""
    difference = phi - other_phi
    return math.remainder(difference, math.tau) if math.isfinite(difference) else math.nan


def delta_r_squared(
    eta: np.ndarray, phi: np.ndarray, other_eta: np.ndarray, other_phi: np.ndarray
) -> np.ndarray:
    """Return delta-R squared: delta-eta squared plus delta-phi squared."""
    d_eta, d_phi = eta - other_eta, delta_phi(phi, other_phi)
    return d_eta * d_eta + d_phi * d_phi


def pseudorapidity(pt: np.ndarray, pz: np.ndarray) -> np.ndarray:
    """Return eta = asinh(pz / pT), and +-100,000 for particles along the beam, whose pT is 0."""
    return np.where(pt > 0, np.arcsinh(pz / np.maximum(pt, 1e-9)), np.copysign(1e5, pz))


def expand_ranges(begin: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, for every element of the ranges `begin[i] : begin[i] + counts[i]`, the range i and the element's index."""
    owner = np.repeat(np.arange(len(counts)), counts)
    shift = begin - (np.cumsum(counts) - counts)
    return owner, np.arange(len(owner)) + np.repeat(shift, counts)


def pairs_in_event(event: np.ndarray, other_event: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices (object, other object) of all pairs in the same event; `other_event` must be sorted."""
    begin = np.searchsorted(other_event, event, "left")
    return expand_ranges(begin, np.searchsorted(other_event, event, "right") - begin)


def pairs_by_offsets(event: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the same where the other objects of event i are `offsets[i]` to `offsets[i + 1]`."""
    begin = offsets[event]
    return expand_ranges(begin, offsets[event + 1] - begin)
