"""Student networks: scales, logarithms, and graphs that compute what the network does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tamis.compress.distillation.search import export_student
from tamis.compress.distillation.students import Scaling, build_student
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
