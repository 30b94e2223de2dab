"""How a model is compared with its parent."""

from __future__ import annotations

import numpy as np
import pytest

from tamis._base import DataError
from tamis.compress.quality import Labels, area_under_curve, measure_quality


def outputs(tagger, rows):
    golden = tagger.golden.outputs
    return {
        name: np.resize(value, (rows, *value.shape[1:])).astype(np.float32) for name, value in golden.items()
    }


def test_a_model_equals_itself(tagger):
    same = outputs(tagger, 300)
    label = same["probabilities"].argmax(1)
    figures = measure_quality(tagger.manifest, same, same, Labels(label, tuple("gqWZt")))
    assert figures["flips(background-0.01)"].value == figures["error"].value == 0
    assert figures["flips(background-0.01)"].high == pytest.approx(0.0126, abs=1e-3)
    assert figures["agreement"].value == figures["accuracy"].value == figures["accuracy"].parent == 1
    assert figures["auc"].value == figures["auc"].parent


def test_changes_are_counted(tagger):
    parent = outputs(tagger, 200)
    changed = {name: value.copy() for name, value in parent.items()}
    changed["score"][:20] = 1 - parent["score"][:20].round()  # on the other side of every threshold
    changed["probabilities"][:10] = parent["probabilities"][:10, ::-1]
    figures = measure_quality(tagger.manifest, changed, parent, None)
    threshold = tagger.manifest.working_points[0].threshold
    flips = ((changed["score"] > threshold) != (parent["score"] > threshold)).mean()
    assert 0 < figures["flips(background-0.1)"].value == pytest.approx(flips)
    assert 0.95 <= figures["agreement"].value < 1
    assert figures["error"].value > 0.1
    assert "auc" not in figures


def test_the_area_is_the_probability_of_the_right_order():
    rng = np.random.default_rng(0)
    signal, background = rng.integers(0, 9, 40), rng.integers(0, 7, 30)
    pairs = (signal[:, None] > background) + 0.5 * (signal[:, None] == background)
    assert area_under_curve(signal, background) == pytest.approx(pairs.mean())


def test_an_auc_takes_both_kinds_of_rows(tagger):
    same = outputs(tagger, 50)
    with pytest.raises(DataError, match="all signal or all background"):
        measure_quality(tagger.manifest, same, same, Labels(np.ones(50, int), tuple("gqWZt")))


def test_signal_is_compared_at_equal_background_and_background_at_equal_signal(tagger):
    parent = outputs(tagger, 3000)
    rng = np.random.default_rng(5)
    label = np.arange(3000) % 2
    parent["score"] = (label * 0.8 + rng.normal(0, 0.5, 3000)).astype(np.float32)
    worse = parent | {"score": (label * 0.3 + rng.normal(0, 0.5, 3000)).astype(np.float32)}
    figures = measure_quality(tagger.manifest, worse, parent, Labels(label, ("b", "s")))
    point = tagger.manifest.working_points[0]
    passed = parent["score"] > point.threshold
    threshold = np.sort(worse["score"][label == 0])[-passed[label == 0].sum() - 1]
    efficiency = figures[f"efficiency({point.name})"]
    assert efficiency.parent == pytest.approx(passed[label == 1].mean())
    assert efficiency.value == pytest.approx((worse["score"][label == 1] > threshold).mean())
    assert efficiency.low < efficiency.value < efficiency.high < efficiency.parent
    background = figures[f"background({point.name})"]
    assert background.value > background.parent == pytest.approx(passed[label == 0].mean())


def test_working_points_of_a_few_rows_are_left_out(tagger):
    same = outputs(tagger, 40) | {"score": (np.arange(40) < 12).astype(np.float32)}  # 6 of each class
    figures = measure_quality(tagger.manifest, same, same, Labels(np.arange(40) % 2, ("b", "s")))
    assert not any(name.startswith(("efficiency", "background")) for name in figures)
