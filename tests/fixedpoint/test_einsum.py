"""Einsum with a constant: the integers of its products are those of the reference."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import parse
from tests.fixedpoint.conftest import quantise

from tamis.bundle import Reference
from tamis.firmware.emulator import Emulator

SIZES = {"a": 5, "b": 3, "c": 4, "d": 2}
EQUATIONS = (
    "nac,cd->nad",
    "nac,cd->nda",
    "cd,nac->nad",
    "nac,acd->nad",
    "nabc,bcd->nad",
    "nac,a->nac",
    "nac,d->nad",
    "na,ad->nd",
)


def model_of(equation):
    """Return a graph that quantises its input and applies Einsum, and rows."""
    first, second = equation.split("->")[0].split(",")
    batched, constant = (first, second) if first[0] == "n" else (second, first)
    shape = [SIZES[label] for label in batched[1:]]
    operands = ("q", "w") if batched == first else ("w", "q")
    made = [SIZES[label] for label in equation.split("->")[1][1:]]
    text = (
        f"m (float[N, {', '.join(map(str, shape))}] x) => (float[N, {', '.join(map(str, made))}] y) {{"
        + quantise("x", "q", fraction=3, low=-32, high=31)
        + f'y = Einsum <equation = "{equation}"> ({operands[0]}, {operands[1]}) }}'
    )
    model = parse(text, w=tuple(SIZES[label] for label in constant))
    rng = np.random.default_rng(1)
    (weights,) = (one for one in model.graph.initializer if one.name == "w")
    weights.raw_data = (rng.integers(-8, 8, tuple(weights.dims)) / 8).astype(np.float32).tobytes()
    return model, rng.normal(size=(50, *shape)).astype(np.float32) * 2


@pytest.mark.parametrize("equation", EQUATIONS)
def test_products_are_those_of_the_reference(equation):
    model, rows = model_of(equation)
    emulator = Emulator(model, {"x": rows[:1]})
    assert {type(step).__name__ for step in emulator.graph.program.steps} >= {"Linear"}
    np.testing.assert_array_equal(emulator({"x": rows})["y"], Reference(model)({"x": rows})["y"])
