"""The shape of electromagnetic showers in crystals: how much stays inside, and how it is shared between neighbours."""

from __future__ import annotations

import numpy as np

CRITICAL_GEV = 0.0096
LENGTH_X0 = 25.8  # of a crystal
FALL = 0.5  # of the longitudinal profile, per radiation length
DEPTH_STEPS = 104
ETA_GAPS = (25, 45, 65)  # crystals that end a module
PHI_MODULE = 20
GAP = 0.03  # crystals: modules are tilted, so that a gap takes a part of what hits it
CORE, TAIL, TAIL_SHARE = 0.08, 0.25, 0.2  # radii in crystals
WIDENING_PER_X0 = 0.12


def contained(energy: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of each shower that does not leave at the back, and how much wider than usual it is."""
    usual = np.log(energy / CRITICAL_GEV) + 0.5
    deepest = usual + 0.8 * rng.standard_normal(len(energy)) + rng.exponential(0.9, len(energy))
    power = FALL * deepest  # t^power exp(-FALL t) has its maximum there
    depth = (np.arange(DEPTH_STEPS) + 0.5) * (2.0 * LENGTH_X0 / DEPTH_STEPS)
    profile = np.exp(power[:, None] * np.log(depth / deepest[:, None]) - FALL * (depth - deepest[:, None]))
    inside = profile[:, depth < LENGTH_X0].sum(axis=1) / profile.sum(axis=1)
    return inside, np.exp(WIDENING_PER_X0 * (deepest - usual))


def lateral(
    eta: np.ndarray, phi: np.ndarray, gap_rings: np.ndarray, gap_columns: np.ndarray, widening: np.ndarray
) -> np.ndarray:
    """Return the share (n, rings, columns) of each crystal for showers at a place in the one in the middle."""
    rows, columns = _edges(gap_rings) - eta[:, None, None], _edges(gap_columns) - phi[:, None, None]
    total = np.zeros((len(eta), rows.shape[2], columns.shape[2]))
    for weight, radius in ((1.0 - TAIL_SHARE, CORE), (TAIL_SHARE, TAIL)):
        wide = (radius * widening)[:, None, None]
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            sign = 1.0 if i == j else -1.0
            total += weight * sign * _cumulative(rows[:, i, :, None], columns[:, j, None, :], wide)
    return total


def _edges(gap_after: np.ndarray) -> np.ndarray:
    """Return (n, 2, crystals): where crystals begin and end, in crystals from the middle of the one in the middle."""
    n, size = gap_after.shape
    place = np.cumsum(np.column_stack([np.zeros(n), 1.0 + GAP * gap_after[:, :-1]]), axis=1)
    begin = place - place[:, size // 2, None] - 0.5
    return np.stack([begin, begin + 1.0], axis=1)


def _cumulative(x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Return what, differenced in x and y, integrates the density R / (2 pi (r^2 + R^2)^1.5) over a rectangle."""
    found: np.ndarray = np.arctan(x * y / (radius * np.sqrt(x * x + y * y + radius * radius)))
    return found / (2.0 * np.pi)
