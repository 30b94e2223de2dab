"""Rows of the tail, and outliers made from the data."""

from __future__ import annotations

import numpy as np

from tamis.compress.distillation.outliers import draw_tail, make_outliers


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
