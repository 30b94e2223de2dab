"""Saturation written as choices between a value and its limits."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import parse
from tests.fixedpoint.conftest import VECTOR

from tamis._base import ModelError
from tamis.bundle import Reference
from tamis.firmware.emulator import Emulator
from tamis.fixedpoint.program import Clip

LIMITS = "high = Constant <value_float = 2.5> () low = Constant <value_float = -1.25> ()"
END = "y = MatMul (s, w) }"
ROWS = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32) * 3


def model_of(choice):
    model = parse(VECTOR.format(3) + f"{LIMITS} {choice} {END}", w=(8, 3))
    (weights,) = (one for one in model.graph.initializer if one.name == "w")
    weights.raw_data = (np.arange(24, dtype=np.float32) / 16).tobytes()
    return model


@pytest.mark.parametrize(
    "choice",
    [
        "a = Greater (q, high) s = Where (a, high, q)",
        "a = Less (q, low) s = Where (a, low, q)",
        "a = Greater (q, high) b = Less (q, low) i = Where (b, low, q) s = Where (a, high, i)",
        "a = Greater (q, high) b = Less (q, low) i = Where (a, high, q) s = Where (b, low, i)",
        "a = LessOrEqual (high, q) c = Cast <to = 9> (a) s = Where (c, high, q)",
    ],
)
def test_choices_between_a_value_and_its_limits_are_clips(choice):
    model = model_of(choice)
    emulator = Emulator(model, {"x": ROWS[:1]})
    np.testing.assert_array_equal(
        emulator({"x": ROWS})["y"], Reference(model, double=False)({"x": ROWS})["y"]
    )
    assert sum(isinstance(step, Clip) for step in emulator.graph.program.steps) == choice.count("Where")


@pytest.mark.parametrize(
    "choice",
    [
        "a = Greater (q, high) s = Where (a, low, q)",
        "a = Greater (q, low) b = Less (q, high) i = Where (b, high, q) s = Where (a, low, i)",
    ],
    ids=["another-limit", "crossed"],
)
def test_other_choices_are_not_taken_for_limits(choice):
    with pytest.raises(ModelError, match="chooses between values in another way"):
        Emulator(with_second_layer(choice), {"x": ROWS[:1]})


def with_second_layer(choice):
    """Return a model in which a quantised layer follows."""
    text = (
        VECTOR.format(3)
        + f"{LIMITS} {choice} eight = Constant <value_float = 8.0> () e = Constant <value_float = 0.125> () m = Mul (s, eight) "
        + "r = Round (m) top = Constant <value_float = 15.0> () bottom = Constant <value_float = -16.0> () "
        + "c = Clip (r, bottom, top) t = Mul (c, e) y = MatMul (t, w) }"
    )
    return parse(text, w=(8, 3))
