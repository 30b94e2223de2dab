"""Thresholds, flips, correlations and AUC of a student, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.compress.distillation.judge import Scored, Threshold, find_thresholds, judge_student
from tamis.compress.quality import Labels


def test_thresholds_accept_as_much_as_the_parents_and_flips_are_counted_by_hand(tagger):
    rng = np.random.default_rng(8)
    decides = rng.random(4000)
    value = -5 + 2 * decides
    scored = Scored(value, value, decides)
    thresholds, notes = find_thresholds(tagger.manifest, scored, by_score=True)
    for one in thresholds:
        assert ((value > one.point.threshold) == (decides > one.parent)).mean() > 0.999
    assert len(thresholds) + len(notes) == 2
    scored = Scored(np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 4, 3]), np.array([1.0, 2, 4, 3]))
    point = thresholds[0].point.model_copy(update={"threshold": 3.5, "name": "tight"})
    figures = judge_student(scored, [Threshold(point, 3.5)])
    assert figures["flips(tight)"].value == 0.5
    assert figures["correlation(ranks)"].value == pytest.approx(0.8)


def test_a_signal_has_an_auc_of_its_own():
    labels = Labels(np.array([0, 0, 1, 1, 2, 2]), ("qcd", "w", "z"))
    value = np.array([1.0, 2, 3, 4, 0, 1.5])
    figures = judge_student(Scored(value, value, -value, labels), [])
    assert figures["auc(w)"].value == 1.0
    assert figures["auc(w)"].parent == 0.0
    assert figures["auc(z)"].value == 0.25
