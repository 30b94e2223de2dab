"""Selectors on samples with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from tamis._base import UsageError
from tamis.bundle import Bundle
from tamis.measure import Scores, classes_of, measure_selectors

CLASSES = ("qcd", "w", "ttbar")


def scores_of(rows=3000, seed=0, **rates):
    rng = np.random.default_rng(seed)
    label = np.arange(rows) % 3
    values = {"p(qcd)": rng.random(rows), "p(w)": (label == 1) * 1.0, "p(ttbar)": rng.random(rows)}
    values["score"] = np.where(label == 0, 0.5 * rng.random(rows), rng.random(rows))
    rate = np.choose(label, [rates.get(name, 1.0) for name in CLASSES])
    return Scores(values, label, rate)


def measured(scores):
    rng = np.random.default_rng(1)
    return {(s.variable, s.signal): s for s in measure_selectors(scores, CLASSES, rng)}


def test_perfect_and_random_selectors():
    found = measured(scores_of())
    perfect = found["p(w)", "w"]
    assert perfect.auc.value == 1.0
    assert [perfect.passing[name].value for name in CLASSES] == [0.0, 1.0, 0.0]
    assert perfect.removed.value == pytest.approx(2 / 3)
    assert perfect.against == ("qcd", "ttbar")
    chance = found["p(ttbar)", "ttbar"]
    assert chance.auc.value == pytest.approx(0.5, abs=4 * chance.auc.error)
    assert 0.005 < chance.auc.error < 0.02
    assert chance.passing["qcd"].value == pytest.approx(0.99, abs=0.01)


def test_score_is_measured_against_the_background_class():
    found = measured(scores_of())["score", "ttbar"]
    assert found.against == ("qcd",)
    assert found.auc.value == pytest.approx(0.75, abs=0.02)  # half of it is above all background
    assert found.passing["ttbar"].value >= 0.99
    assert found.passing["qcd"].value == pytest.approx(0.98, abs=0.015)


def test_removed_rate_is_that_of_the_weighted_mix():
    even, heavy = measured(scores_of()), measured(scores_of(qcd=8.0))
    assert even["p(w)", "w"].removed.value == pytest.approx(2 / 3)
    assert heavy["p(w)", "w"].removed.value == pytest.approx(9 / 10)
    assert heavy["p(w)", "w"].auc == even["p(w)", "w"].auc  # the rates of classes do not change the AUC


def test_equal_values_pass_together():
    scores = scores_of()
    scores.values["p(w)"][:] = 0.5
    found = measured(scores)["p(w)", "w"]
    assert found.auc.value == pytest.approx(0.5)
    assert found.removed.value == pytest.approx(0.0)


def test_rates_within_a_class_are_weights():
    """Half of the background has a high score, but only a hundredth of the rate."""
    label = np.arange(4000) % 2
    high = (np.arange(4000) // 2) % 2 == 0
    values = {"score": np.where(label == 1, 0.8, np.where(high, 0.9, 0.1))}
    rate = np.where((label == 0) & high, 0.01, 1.0)
    found = measure_selectors(Scores(values, label, rate), ("qcd", "w"), np.random.default_rng(0))
    passing = next(s for s in found if s.variable == "score").passing["qcd"]
    assert passing.value == pytest.approx(0.01 / 1.01)


def test_detector_is_rejected_as_a_classifier():
    with pytest.raises(UsageError, match="conv-vae is not a classifier"):
        classes_of(Bundle.open("conv-vae"))
