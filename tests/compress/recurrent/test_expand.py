"""Recurrent layers step by step give what the operators gave, whatever their layout, and what has no steps is named."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper
from tests.conftest import parse

from tamis._base import ModelError
from tamis.bundle import Reference
from tamis.compress.graph import find_layers

STEPS, FEATURES, HIDDEN = 3, 4, 5
GATES = {"GRU": 3, "LSTM": 4}


def recurrent(
    operator, options="", *, directions=1, outputs="states, last", tail="", inputs="p, w, r, b", opset=17
):
    """Return a model of one layer; `p` is the input with the time in front."""
    gates = GATES[operator]
    return parse(
        f"""m (float[N, {STEPS}, {FEATURES}] x) => (float[N, K] y) {{
            p = Transpose <perm = [1, 0, 2]> (x)
            {outputs} = {operator} <hidden_size = {HIDDEN} {options}> ({inputs})
            {tail}
        }}""",
        opset,
        w=(directions, gates * HIDDEN, FEATURES),
        r=(directions, gates * HIDDEN, HIDDEN),
        b=(directions, 2 * gates * HIDDEN),
        start=(directions, 1, HIDDEN),
        start_cell=(directions, 1, HIDDEN),
    )


def check(model):
    """Check that the expanded graph computes the same, and return it."""
    found = find_layers(model, "m")
    assert not {"GRU", "LSTM", "RNN"} & {node.op_type for node in found.model.graph.node}
    x = np.random.default_rng(1).normal(size=(7, STEPS, FEATURES)).astype(np.float32)
    np.testing.assert_allclose(
        Reference(found.model)({"x": x})["y"], Reference(model)({"x": x})["y"], atol=1e-6
    )
    return found


SEQUENCE = "s = Squeeze (states, axis) t = Transpose <perm = [1, 0, 2]> (s) y = Flatten (t)"
LAST = "z = Squeeze (last, none) y = Identity (z)"


def with_axes(model):
    for name, value in (("axis", [1]), ("none", [0]), ("flat", [0, -1])):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    return model


@pytest.mark.parametrize(
    ("operator", "options"),
    [
        *(("GRU", options) for options in ("", ', direction = "reverse"', ", linear_before_reset = 1")),
        *(("LSTM", options) for options in ("", ', direction = "reverse"')),
    ],
)
@pytest.mark.parametrize("tail", [SEQUENCE, LAST])
def test_steps_compute_what_the_operator_did(operator, options, tail):
    found = check(with_axes(recurrent(operator, options, tail=tail)))
    assert all(layer.uses == STEPS for layer in found.layers)


def test_both_directions_share_formats_and_have_weights_of_their_own():
    tail = "t = Transpose <perm = [2, 0, 1, 3]> (states) y = Flatten (t)"
    found = check(recurrent("GRU", ', direction = "bidirectional"', directions=2, tail=tail))
    assert len({layer.weight for layer in found.layers}) == 6
    states = [one for one in found.tensors if one.point and one.point.name.endswith("/state")]
    assert [len(one.places) for one in states] == [2 * (STEPS + 1)]


def test_the_batch_may_be_in_front():
    model = with_axes(
        recurrent(
            "GRU", ", layout = 1", inputs="x, w, r, b", tail="z = Squeeze (last, axis) y = Identity (z)"
        )
    )
    assert [one.tensor for one in check(model).tensors if one.is_input] == ["x"]


@pytest.mark.parametrize(("operator", "states"), [("GRU", ", , start"), ("LSTM", ", , start, start_cell")])
def test_layers_begin_with_constant_states(operator, states):
    model = recurrent(
        operator,
        outputs="states, last",
        inputs=f"p, w, r, b{states}",
        tail="z = Squeeze (last, none) y = Identity (z)",
    )
    repeated = {
        one.name: np.repeat(numpy_helper.to_array(one), 7, 1)
        for one in model.graph.initializer
        if one.name.startswith("start")
    }
    found = find_layers(with_axes(_of_rows(model, repeated, 3)), "m")
    x = np.random.default_rng(1).normal(size=(7, STEPS, FEATURES)).astype(np.float32)
    expected = Reference(with_axes(_of_rows(model, repeated, 7)))({"x": x})["y"]
    np.testing.assert_allclose(Reference(found.model)({"x": x})["y"], expected, atol=1e-6)


def _of_rows(model, arrays, rows):
    """Return the model with initial states for a number of rows."""
    copy = type(model)()
    copy.CopyFrom(model)
    for one in copy.graph.initializer:
        if one.name in arrays:
            one.CopyFrom(numpy_helper.from_array(arrays[one.name][:, :rows], one.name))
    return copy


def test_layers_follow_each_other():
    tail = f"s = Squeeze (states, axis) s2, l2 = LSTM <hidden_size = {HIDDEN}> (s, w2, r2) y = Squeeze (l2, none)"
    model = recurrent("GRU", tail=tail)
    rng = np.random.default_rng(3)
    for name, shape in (("w2", (1, 4 * HIDDEN, HIDDEN)), ("r2", (1, 4 * HIDDEN, HIDDEN))):
        model.graph.initializer.append(
            numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        )
    found = check(with_axes(model))
    assert len(found.layers) == 5  # of a GRU with an early reset three, of an LSTM two
    state = next(one for one in found.tensors if one.point and one.point.name.endswith("/state"))
    assert len(state.layers) == 2  # its own, and that of the next layer: the candidate reads r h


@pytest.mark.parametrize(
    ("operator", "options", "inputs", "message"),
    [
        ("GRU", ", clip = 3.0", "p, w, r, b", r"the node 'states' \(GRU\) of m has the attribute clip"),
        ("LSTM", ", input_forget = 1", "p, w, r, b", "joint input and forget gates"),
        (
            "GRU",
            ', activations = ["Sigmoid", "Relu"]',
            "p, w, r, b",
            "activations Sigmoid, Relu; only Sigmoid and Tanh",
        ),
        ("LSTM", "", "p, w, r, b, , , , peep", "has peepholes, which are not supported: train it without"),
        (
            "GRU",
            "",
            "p, w, r, b, lengths",
            r"different lengths \(sequence_lens\), which are not supported: pad",
        ),
        ("GRU", "", "p, w, r, b, , computed", "begins with a state that is computed"),
    ],
)
def test_what_has_no_steps_is_named(operator, options, inputs, message):
    tail = "computed = Identity (begin) y = Squeeze (last, none)"
    model = with_axes(recurrent(operator, options, inputs=inputs, tail=tail))
    arrays = {"peep": np.zeros((1, 3 * HIDDEN), np.float32), "lengths": np.array([3, 2, 1], np.int32)}
    for name, array in arrays.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    if "computed" in inputs:  # from a second input of the graph
        nodes = sorted(model.graph.node, key=lambda node: node.output[0] != "computed")
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        model.graph.input.append(helper.make_tensor_value_info("begin", 1, ["N", 3, HIDDEN]))
        nodes[0].op_type = "Transpose"
        nodes[0].attribute.append(helper.make_attribute("perm", [1, 0, 2]))
        model.graph.input[-1].CopyFrom(helper.make_tensor_value_info("begin", 1, ["N", 1, HIDDEN]))
    else:
        del model.graph.node[[node.output[0] for node in model.graph.node].index("computed")]
    with pytest.raises(ModelError, match=message):
        find_layers(model, "m")


def test_sequences_of_any_length_are_refused():
    model = with_axes(recurrent("GRU", tail=LAST))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "T"
    with pytest.raises(ModelError, match=r"any length after the first one.*fixed number of steps"):
        find_layers(model, "m")
