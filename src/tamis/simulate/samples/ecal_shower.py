"""The shape of electromagnetic showers in crystals: longitudinal containment and lateral sharing."""

from __future__ import annotations

import numpy as np

CRITICAL_GEV = 0.0096
LENGTH_X0 = 25.8  # of a crystal
FALL = 0.5  # of the longitudinal profile, per radiation length
DEPTH_STEPS = 104
ETA_GAPS = (25, 45, 65)  # last crystals of the modules
PHI_MODULE = 20
GAP = 0.03  # effective width in crystals: modules are tilted, so that a gap loses only a part of a shower
CORE, TAIL, TAIL_SHARE = 0.08, 0.25, 0.2  # radii in crystals
WIDENING_PER_X0 = 0.12


def contained(energy: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the fraction of each shower that is contained, and its width relative to the average."""
    average = np.log(energy / CRITICAL_GEV) + 0.5
    deepest = average + 0.8 * rng.standard_normal(len(energy)) + rng.exponential(0.9, len(energy))
    power = FALL * deepest  # t^power exp(-FALL t) has its maximum at `deepest`
    depth = (np.arange(DEPTH_STEPS) + 0.5) * (2.0 * LENGTH_X0 / DEPTH_STEPS)
    profile = np.exp(power[:, None] * np.log(depth / deepest[:, None]) - FALL * (depth - deepest[:, None]))
    inside = profile[:, depth < LENGTH_X0].sum(axis=1) / profile.sum(axis=1)
    return inside, np.exp(WIDENING_PER_X0 * (deepest - average))


def lateral(
    eta: np.ndarray, phi: np.ndarray, gap_rings: np.ndarray, gap_columns: np.ndarray, widening: np.ndarray
) -> np.ndarray:
    """Return each crystal's fraction (n, rings, columns) of showers at a position in the middle crystal."""
    rows, columns = _edges(gap_rings) - eta[:, None, None], _edges(gap_columns) - phi[:, None, None]
    total = np.zeros((len(eta), rows.shape[2], columns.shape[2]))
    for weight, radius in ((1.0 - TAIL_SHARE, CORE), (TAIL_SHARE, TAIL)):
        wide = (radius * widening)[:, None, None]
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            sign = 1.0 if i == j else -1.0
            total += weight * sign * _cumulative(rows[:, i, :, None], columns[:, j, None, :], wide)
    return total


def _edges(gap_after: np.ndarray) -> np.ndarray:
    """Return the edges (n, 2, crystals) of the crystals, in crystal widths from the centre of the middle one."""
    n, size = gap_after.shape
    place = np.cumsum(np.column_stack([np.zeros(n), 1.0 + GAP * gap_after[:, :-1]]), axis=1)
    begin = place - place[:, size // 2, None] - 0.5
    return np.stack([begin, begin + 1.0], axis=1)


def _cumulative(x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Return the integral of the density R / (2 pi (r^2 + R^2)^1.5) over the quadrant below (x, y), up to a constant."""
    angle: np.ndarray = np.arctan(x * y / (radius * np.sqrt(x * x + y * y + radius * radius)))
    return angle / (2.0 * np.pi)
