"""Products in turn: every input meets its weight once, and there are not more multipliers than needed."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.firmware.folded.products import best_cycles, plan_products
from tamis.fixedpoint import FixedGrid


def plan_of(inputs, outputs, available, seed=0):
    rng = np.random.default_rng(seed)
    matrix = rng.integers(-7, 8, (inputs, outputs)) * 2.0 ** -rng.integers(0, 4, outputs)
    fraction = rng.integers(0, 4, inputs)
    low, high = -np.ldexp(8.0, -fraction), np.ldexp(7.0, -fraction)
    return matrix, plan_products(matrix, FixedGrid(low, high, fraction), np.arange(inputs), available)


@pytest.mark.parametrize("available", [1, 2, 3, 7, 16, 1000])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (16, 64), (5, 3), (13, 1), (1, 9)])
def test_every_weight_is_used_once(inputs, outputs, available):
    matrix, plan = plan_of(inputs, outputs, available)
    assert plan.cycles * plan.groups <= available
    vector = np.random.default_rng(1).integers(-8, 8, inputs + 1)
    vector[-1] = 0  # what a lane without an input holds
    sums = np.zeros(outputs)
    for group, columns in enumerate(plan.outputs):
        for cycle, taken in enumerate(plan.inputs):
            products = np.ldexp(vector[taken], plan.shifts) @ plan.weights[group * plan.cycles + cycle]
            sums[columns[columns >= 0]] += products[columns >= 0]
    real = np.ldexp(vector[:-1], -fractions(plan, inputs)) @ matrix
    np.testing.assert_array_equal(np.ldexp(sums, -plan.results.fraction), real)


def fractions(plan, inputs):
    """Return the fraction that each input has in its lane."""
    found = np.zeros(inputs, np.int64)
    for taken in plan.inputs:
        found[taken[taken >= 0]] = plan.lanes.fraction[taken >= 0]
    return found


@pytest.mark.parametrize(
    ("inputs", "outputs", "available", "multipliers"),
    [(16, 64, 16, 64), (16, 64, 5, 208), (16, 64, 64, 16), (16, 64, 10**6, 1), (3, 1, 2, 2), (7, 5, 35, 1)],
)
def test_multipliers(inputs, outputs, available, multipliers):
    cycles, groups = best_cycles(inputs, outputs, available)
    assert -(-inputs // cycles) * -(-outputs // groups) == multipliers


def test_depths_of_trees_of_adders():
    grid = FixedGrid(np.full(17, -8.0), np.full(17, 7.0), np.zeros(17, np.int64))
    found = [
        plan_products(np.full((size, 1), 3.0), grid, np.arange(size), 1).depth
        for size in (1, 2, 4, 5, 16, 17)
    ]
    assert found == [0, 1, 2, 3, 4, 5]
