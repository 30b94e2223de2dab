"""Energy and class figures on samples with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.measure.physics.array_classes import class_figures, confusion
from tamis.measure.physics.energies import empty_rows, energy_bins


def test_response_and_spread_match_the_generated_resolution():
    rng = np.random.default_rng(1)
    truth = np.exp(rng.uniform(0.0, 5.0, 40_000))
    measured = {"good": truth * (1.0 + 0.05 * rng.standard_normal(40_000)), "low": 0.9 * truth}
    bins = energy_bins(truth, measured, rng)
    assert [one.rows for one in bins[:-1]] == pytest.approx([5000] * 8, rel=0.1)
    assert bins[-1].rows == 40_000
    for one in bins:
        good, low = one.figures
        assert good.response.value == pytest.approx(1.0, abs=5 * good.response.error)
        assert good.spread.value == pytest.approx(0.05, abs=5 * good.spread.error)
        assert good.within.value == pytest.approx(0.05, abs=5 * good.within.error)
        assert low.response.value == pytest.approx(0.9)
        assert low.within.value == pytest.approx(0.1)
        assert low.spread.value == pytest.approx(0.0, abs=1e-9)


def test_bins_and_empty_rows_with_few_entries_are_left_out():
    truth = np.concatenate([np.full(100, 1.0), np.full(100, 100.0), np.zeros(80)])
    rng = np.random.default_rng(1)
    bins = energy_bins(truth, {"x": truth + 1.0}, rng)
    assert [one.rows for one in bins] == [100, 100, 200]
    (empty,) = empty_rows(truth, {"x": truth + 1.0}, rng)
    assert (empty.rows, empty.mean.value, empty.p95.value) == (80, 1.0, 1.0)
    assert empty_rows(truth[:200], {"x": truth[:200]}, rng) == []


def test_purity_is_for_equally_frequent_classes():
    rng = np.random.default_rng(1)
    label = np.repeat([0, 1], [900, 100])
    correct = rng.random(1000) < 0.8
    assigned = np.where(correct, label, 1 - label)
    probabilities = np.eye(2)[assigned] * 0.5 + 0.25
    noise = rng.random(1000)
    first, second = class_figures(
        ("a", "b"), label, probabilities, {"noise": noise, "inverted": -label.astype(float)}, rng
    )
    assert first.efficiency.value == pytest.approx(0.8, abs=0.05)
    # with the frequencies of the sample, 100 against 900, it would be 0.3
    assert second.purity.value == pytest.approx(0.8, abs=0.05)
    assert (first.baseline, second.baseline) == ("inverted", "-inverted")
    assert first.baseline_auc.value == second.baseline_auc.value == 1.0
    table = np.array(confusion(2, label, probabilities))
    np.testing.assert_allclose(table.sum(axis=1), 1.0)
    assert table[0, 0] == first.efficiency.value
