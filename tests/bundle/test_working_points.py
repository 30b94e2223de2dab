"""Decisions at working points, and the interval of a fraction."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.bundle import WorkingPoint, decision_flips, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 10, 0.0, 0.27753), (1, 10, 0.01788, 0.40415), (5, 10, 0.23659, 0.76341), (10, 10, 0.72247, 1.0), (0, 0, 0.0, 1.0)],
)  # fmt: skip
def test_wilson_intervals_match_tabulated_values(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=1e-5)


def test_flips_are_counted():
    points = (WorkingPoint(name="w", threshold=0.5),)
    (found,) = decision_flips(points, np.array([0.4, 0.6, 0.6, 0.4]), np.array([0.6, 0.6, 0.4, 0.4]))
    assert (found.flips, found.decisions) == (2, 4)
