"""Splitting graphs into host and program: names of layers, and errors where hardware could not compute the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import parse
from tests.fixedpoint.conftest import VECTOR, draw, make

from tamis._base import ModelError
from tamis.fixedpoint import split_graph


def test_layers_are_named_after_their_weights():
    program = split_graph(make("dense"), draw(make("dense"), 1)).program
    assert list(dict.fromkeys(step.layer for step in program.steps)) == ["inputs", "w1", "w2"]


def test_a_float_model_is_told_to_be_compressed():
    model = parse("m (float[N, 8] x) => (float[N, 3] y) { y = MatMul (x, w) }", w=(8, 3))
    with pytest.raises(ModelError, match=r"no part of the model is quantised.*tamis compress"):
        split_graph(model, {"x": np.zeros((1, 8), np.float32)})


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        ("r = Softmax <axis = 1> (d)", r"Softmax of 'r': .* \(Softmax is not a function of one number\)"),
        (
            "third = Constant <value_float = 3.0> () r = Div (d, third)",
            "Div of 'r': the divisor is not a power of two",
        ),
        (
            "tenth = Constant <value_float = 0.1> () r = Mul (d, tenth)",
            "Mul of 'r': its sums need .* bits and float32 holds 24",
        ),
    ],
)
def test_a_layer_that_is_not_exact_between_quantised_ones_is_named(between, reason):
    from tests.fixedpoint.conftest import HIDDEN

    text = VECTOR.format(3) + f"d = MatMul (q, w1) {between} {HIDDEN} y = MatMul (h, w2) }}"
    model = parse(text, w1=(8, 6), w2=(6, 3))
    for tensor in model.graph.initializer:
        values = np.ones(tuple(tensor.dims), np.float32) / 4
        tensor.raw_data = values.tobytes()
    with pytest.raises(ModelError, match=f"follows one that hardware cannot compute exactly: {reason}"):
        split_graph(model, {"x": np.zeros((1, 8), np.float32)})


def test_sums_that_float32_cannot_hold_are_not_taken_for_exact():
    model = make("dense")
    for tensor in model.graph.initializer:
        if tensor.name == "w1":
            tensor.raw_data = np.full((8, 6), 1 + 2.0**-23, np.float32).tobytes()
    with pytest.raises(ModelError, match=r"needs? 3\d bits|its sums need 3\d bits"):
        split_graph(model, draw(model, 1))


def test_branches_and_loops_are_rejected():
    model = parse(
        """m (float[N, 2] x, bool c) => (float[N, 2] y) {
        y = If (c) <then_branch = t () => (float[N, 2] a) { a = Identity (x) }, else_branch = e () => (float[N, 2] b) { b = Neg (x) }> }"""
    )
    with pytest.raises(ModelError, match="branches or loops"):
        split_graph(model, {"x": np.zeros((1, 2), np.float32), "c": np.asarray(True)})
