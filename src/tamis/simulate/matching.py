"""What lies near what: pairs of objects of the same event, and their distance."""

from __future__ import annotations

import numpy as np


def pairs(event: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of all pairs in the same event; the events of the others have to be in order."""
    first, last = np.searchsorted(other, event, "left"), np.searchsorted(other, event, "right")
    count = last - first
    one = np.repeat(np.arange(len(event)), count)
    step = np.arange(len(one)) - np.repeat(np.cumsum(count) - count, count)
    return one, first[one] + step


def distance_squared(
    eta: np.ndarray, phi: np.ndarray, other_eta: np.ndarray, other_phi: np.ndarray
) -> np.ndarray:
    """Return the square of the distance in eta and phi."""
    turn = (phi - other_phi + np.pi) % (2 * np.pi) - np.pi
    gap: np.ndarray = eta - other_eta
    return gap * gap + turn * turn


def nearest(near: np.ndarray, distance: np.ndarray, most: float, rows: int, none: int = -1) -> np.ndarray:
    """Return for each of `rows` objects which of its pairs is nearest within a distance, or `none`."""
    found = np.full(rows, none, np.int64)
    close = np.flatnonzero(distance < most)
    falling = close[np.argsort(-distance[close], kind="stable")]
    found[near[falling]] = falling  # the last one written is the nearest
    return found
