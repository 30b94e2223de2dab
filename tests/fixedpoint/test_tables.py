"""Tables of functions between two roundings, which may differ between elements."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper
from tests.conftest import parse
from tests.fixedpoint.conftest import VECTOR

from tamis._base import ModelError
from tamis.bundle import Reference
from tamis.firmware.emulator import Emulator
from tamis.fixedpoint.program import LookUp

AFTER = """
    least = Constant <value_float = -128.0> () most = Constant <value_float = 127.0> ()
    c = Clip (i, least, most) eighth = Constant <value_float = 0.0078125> () r = Mul (c, eighth) y = MatMul (r, w) }"""


def model_of(function, scales):
    """Return a graph with a rounded function of quantised values, scaled by an element's own factor."""
    model = parse(
        VECTOR.format(3) + f"{function} s = Mul (t, scales) i = Round (s) {AFTER}", scales=(1, 8), w=(8, 3)
    )
    values = {"scales": np.array([scales], np.float32), "w": np.ones((8, 3), np.float32) / 4}
    for tensor in model.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(values[tensor.name], tensor.name))
    return model


@pytest.mark.parametrize(
    ("function", "scales", "tables"),
    [
        ("t = Tanh (q)", [100.0] * 8, 1),
        ("t = Tanh (q)", [100.0, 90.0, 100.0, 80.0, 90.0, 80.0, 100.0, 100.0], 3),
        (
            "zero = Constant <value_float = 0.0> () p = Greater (q, zero) e = Sigmoid (q) t = Where (p, e, q)",
            [51.237] * 4 + [61.719] * 4,
            2,
        ),
    ],
    ids=["one", "three", "choice"],
)
def test_elements_have_tables_of_their_own_where_functions_differ(function, scales, tables):
    model = model_of(function, scales)
    rows = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32) * 4
    emulator = Emulator(model, {"x": rows[:1]})
    np.testing.assert_array_equal(
        emulator({"x": rows})["y"], Reference(model, double=False)({"x": rows})["y"]
    )
    assert sum(isinstance(step, LookUp) for step in emulator.graph.program.steps) == tables


def test_a_function_of_several_elements_has_no_table():
    model = model_of("t = Softmax <axis = 1> (q)", [100.0] * 8)
    with pytest.raises(ModelError, match="Softmax is not a function of one number"):
        Emulator(model, {"x": np.zeros((1, 8), np.float32)})


@pytest.mark.parametrize(("divisor", "scale", "doubtful"), [(2.0, 64.0, 0), (64.0, 2048.0, 20)])
def test_on_the_edge_of_two_roundings_a_table_has_the_exact_value_and_a_sentence_says_where(
    divisor, scale, doubtful
):
    """Sigmoid of 1/32 is half a step of 1/64 but for 4e-5 of the step, which float32 tells; at odd multiples of 1/1024 to 19 it may not."""
    model = model_of(f"d = Constant <value_float = {divisor}> () p = Div (q, d) t = Sigmoid (p)", [scale] * 8)
    graph = Emulator(model, {"x": np.zeros((1, 8), np.float32)}).graph
    (step,) = (one for one in graph.program.steps if isinstance(one, LookUp))
    inputs = (step.low + np.arange(len(step.table))) / 16 / divisor
    np.testing.assert_array_equal(step.table, np.round(scale / (1 + np.exp(-inputs))))
    assert len(graph.doubts) == (doubtful > 0)
    for sentence in graph.doubts:
        assert sentence.startswith(f"At {doubtful} of 256 inputs")
        assert "Sigmoid is on the edge" in sentence
