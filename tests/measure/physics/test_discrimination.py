from __future__ import annotations

import numpy as np
import pytest

from tamis._base import DataError
from tamis.measure import EvaluationSample, discriminate, histogram


def pairwise_auc(background, signal):
    """Return the fraction of (background, signal) pairs in order; a tie counts half."""
    return np.mean([[float(s > b) + 0.5 * float(s == b) for b in background] for s in signal])


@pytest.mark.parametrize("rounded", [False, True])
def test_auc_is_the_fraction_of_pairs_in_order(rounded):
    rng = np.random.default_rng(0)
    b, s = rng.normal(0, 1, 150), rng.normal(0.7, 1, 120)
    if rounded:
        b, s = np.round(b), np.round(s)
    found = discriminate(
        EvaluationSample("background", {"v": b}),
        EvaluationSample("s", {"v": s}),
        "v",
        np.random.default_rng(1),
    )
    assert found.auc.value == pytest.approx(pairwise_auc(b, s), abs=1e-12)


def test_bootstrap_errors_match_the_spread_of_replicas():
    def auc(seed):
        rng = np.random.default_rng(seed)
        b, s = (
            EvaluationSample("b", {"v": rng.normal(0, 1, 400)}),
            EvaluationSample("s", {"v": rng.normal(1, 1, 400)}),
        )
        return discriminate(b, s, "v", rng).auc

    found = [auc(seed) for seed in range(40)]
    spread = np.std([f.value for f in found], ddof=1)
    assert np.mean([f.error for f in found]) == pytest.approx(spread, rel=0.35)


def test_signal_efficiency_at_fixed_background_efficiency():
    b, s = np.arange(1000.0), np.full(100, 990.5)
    s[:30] = 5000.0
    found = discriminate(
        EvaluationSample("b", {"v": b}), EvaluationSample("s", {"v": s}), "v", np.random.default_rng(0)
    )
    assert found.signal_efficiency["0.01"].value == pytest.approx(1.0)
    assert found.signal_efficiency["0.001"].value == pytest.approx(0.3)
    assert found.curve[-1] == (1.0, 1.0)
    assert all(
        x2 >= x1 and y2 >= y1 for (x1, y1), (x2, y2) in zip(found.curve, found.curve[1:], strict=False)
    )


def test_one_event_per_sample_gives_finite_numbers():
    found = discriminate(
        EvaluationSample("b", {"v": np.zeros(1)}),
        EvaluationSample("s", {"v": np.ones(1)}),
        "v",
        np.random.default_rng(0),
    )
    assert found.auc.value == 1.0
    assert np.isfinite(found.auc.error)


@pytest.mark.parametrize("values", [[], [1.0, np.nan]])
def test_empty_samples_and_nan_are_rejected(values):
    with pytest.raises(DataError, match="v of the sample s has"):
        discriminate(
            EvaluationSample("b", {"v": np.ones(3)}),
            EvaluationSample("s", {"v": np.array(values)}),
            "v",
            np.random.default_rng(0),
        )


def test_histograms_are_normalised_densities_on_common_edges():
    rng = np.random.default_rng(0)
    samples = [
        EvaluationSample("b", {"v": rng.normal(0, 1, 1000)}),
        EvaluationSample("s", {"v": rng.normal(3, 1, 500)}),
    ]
    found = histogram(samples, "v")
    for density in found.densities.values():
        assert np.sum(density * np.diff(found.edges)) == pytest.approx(1.0)
    assert histogram([EvaluationSample("c", {"v": np.ones(5)})], "v").edges[0] == 1.0
