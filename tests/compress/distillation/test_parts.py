"""The parts of a distillation: students, their rows, and how they are judged."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tamis._base import UsageError
from tamis.compress import DistilOptions
from tamis.compress.distillation.judge import Scored, Threshold, find_thresholds, judge_student
from tamis.compress.distillation.options import parse_size
from tamis.compress.distillation.outliers import draw_tail, make_outliers
from tamis.compress.distillation.search import export_student
from tamis.compress.distillation.students import Scaling, build_student
from tamis.compress.quality import Labels
from tamis.engines.torch import translate


def test_scales_are_powers_of_two_and_values_become_of_order_one():
    x = np.random.default_rng(1).normal([0.3, 50, -1e4], [1e-3, 7, 900], (1000, 3))
    scaling = Scaling(x.mean(0), x.std(0))
    factors = np.log2(scaling.factor.numpy().astype(np.float64))
    assert (factors == np.rint(factors)).all()
    found = scaling(torch.from_numpy(x.astype(np.float32))).numpy()
    assert (np.abs(found.mean(0)) < 0.2).all()
    assert ((found.std(0) > 0.7) & (found.std(0) < 1.5)).all()


def test_a_constant_input_has_a_finite_scale():
    scaling = Scaling(np.array([5.0]), np.array([0.0]))
    assert scaling(torch.tensor([5.0])).item() == 0.0


def test_a_skewed_feature_enters_as_a_logarithm():
    rng = np.random.default_rng(9)
    x = rng.normal(size=(200, 6, 3)).astype(np.float32)
    x[..., 2] = np.exp(2 * x[..., 2])
    student = build_student("particles", (4, 3, 8), [x], 0.0, 1.0, seed=1)
    assert student.skewed == [False, False, True]
    x[:, 4:] = 1e6  # behind the leading four
    with torch.no_grad():
        found = student.eval()(torch.from_numpy(x))
    assert torch.isfinite(found).all()
    assert found.abs().max() < 100


@pytest.mark.parametrize(
    ("family", "size", "shapes"),
    [
        ("dense", (8, 4), [(5,)]),
        ("dense", (8,), [(6, 3), (2,)]),
        ("conv", (4, 8), [(10, 3)]),
        ("conv", (4, 6, 8), [(3, 3)]),
        ("conv", (4, 16), [(1, 18, 14)]),
        ("particles", (4, 3, 8), [(10, 3)]),
        ("particles", (32, 3, 5, 8), [(10, 3)]),
    ],
)
def test_the_graph_of_a_student_is_the_student(family, size, shapes):
    rng = np.random.default_rng(2)
    inputs = {f"x{i}": rng.normal(size=(40, *shape)).astype(np.float32) for i, shape in enumerate(shapes)}
    student = build_student(family, size, list(inputs.values()), 100.0, 7.0, seed=3).eval()
    tensors = [torch.from_numpy(values) for values in inputs.values()]
    with torch.no_grad():
        expected = student(*tensors)
        (found,) = translate(export_student(student, inputs))(*tensors)
        scaled = student.train()(*tensors)
    assert expected.shape == (40,)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(scaled * 7.0 + 100.0, expected, rtol=1e-5, atol=1e-3)


def test_rows_of_the_tail_are_drawn_often_but_none_dominates():
    target = np.random.default_rng(4).permutation(10_000).astype(float)
    drawn = target[draw_tail(target, 5000, np.random.default_rng(5))]
    assert 0.2 < (drawn >= 9900).mean() < 0.4  # 1 % of the rows
    assert np.unique(drawn, return_counts=True)[1].max() < 80


def test_outliers_are_unlike_the_data_and_keep_padding():
    x = np.random.default_rng(6).normal(1, 0.1, (300, 10, 3)).astype(np.float32)
    x[:, 7:] = 0
    made = make_outliers({"x": x}, 99, np.random.default_rng(7))["x"]
    assert made.shape == (99, 10, 3)
    assert made.dtype == np.float32
    assert (made[:, 7:] == 0).all()
    spread = made[:, :7].reshape(99, -1).std(1)
    assert made[0::3, :7].mean((1, 2)).std() > 3 * x[:, :7].mean((1, 2)).std()
    assert np.isin(made[1::3], x).all()
    assert spread[2::3].mean() > 2 * x[:, :7].reshape(300, -1).std(1).mean()
    same = make_outliers({"x": x}, 99, np.random.default_rng(7))["x"]
    np.testing.assert_array_equal(made, same)


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"student": "trees"}, "expected one of dense, conv, particles"),
        ({"loss": "huber"}, "of mae, mse"),
        ({"student": "conv", "size": (4,)}, "as in 8,16"),
        ({"student": "particles", "size": (4, 8)}, "as in 32,12,16"),
        ({"size": (0,)}, "expected numbers of at least 1"),
        ({"tail": -1.0}, "expected at least 0"),
        ({"epochs": 0}, "expected at least 1 of both"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(UsageError, match=message):
        DistilOptions(**options)


def test_a_size_is_numbers():
    assert parse_size("64, 16") == (64, 16)
    with pytest.raises(UsageError, match="not of the form 64,16"):
        parse_size("64x16")
