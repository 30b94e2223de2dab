"""Which layers of a graph can be compressed, and what the errors say about others."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tamis._base import ModelError
from tamis.bundle import Reference
from tamis.compress.graph import find_layers, heads


def test_layers_of_a_tagger_and_the_tensors_between_them(tagger):
    found = find_layers(tagger.model, "toy")
    assert [layer.operator for layer in found.layers] == ["Gemm"] * 4
    assert [layer.hidden for layer in found.layers] == [True, True, True, False]
    assert [(tensor.is_input, tensor.non_negative) for tensor in found.tensors] == [(True, False)] + [
        (False, True)
    ] * 3
    assert [(output, operator) for output, operator, _ in heads(found.model)] == [
        ("probabilities", "Softmax")
    ]


MIXED = """m (float[N, 4] x) => (float[N, 2] y, float[N, 3] z) {
    a = MatMul (x, w1)
    b = Add (a, b1)
    c = Relu (b)
    d = Gemm (c, w2)
    y = Gemm <transB = 1> (c, w3, b3)
    z = Tanh (d)
}"""


def test_biases_are_found_behind_products_and_added_where_there_are_none(parse_model):
    model = parse_model(MIXED, w1=(4, 5), b1=(5,), w2=(5, 3), w3=(2, 5), b3=(2,))
    found = find_layers(model, "m")
    assert [(layer.bias, layer.output, layer.outputs_axis) for layer in found.layers] == [
        ("b1", "b", 1),
        ("d/bias", "d", 1),
        ("b3", "y", 0),
    ]
    assert [tensor.layers for tensor in found.tensors] == [
        (0,),
        (1, 2),
    ]  # one quantiser for both readers of c
    x = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    for name, value in Reference(model)({"x": x}).items():
        np.testing.assert_allclose(Reference(found.model)({"x": x})[name], value, rtol=1e-6)


def test_normalisations_are_folded(parse_model):
    model = parse_model(
        """m (float[N, 4] x) => (float[N, 2] y) {
            s = Sub (x, mean)
            d = Div (s, std)
            a = Gemm (d, w1, b1)
            n = BatchNormalization (a, scale, shift, average, variance)
            r = Relu (n)
            y = MatMul (r, w2)
        }""",
        mean=(4,), std=(4,), w1=(4, 5), b1=(5,), scale=(5,), shift=(5,), average=(5,), variance=(5,), w2=(5, 2),
    )  # fmt: skip
    for one in model.graph.initializer:
        if one.name in ("std", "variance"):
            one.CopyFrom(
                onnx.numpy_helper.from_array(
                    np.abs(onnx.numpy_helper.to_array(one)) + np.float32(0.5), one.name
                )
            )
    found = find_layers(model, "m")
    assert {node.op_type for node in found.model.graph.node} == {"Gemm", "Identity", "Relu", "MatMul", "Add"}
    x = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    np.testing.assert_allclose(
        Reference(found.model)({"x": x})["y"], Reference(model)({"x": x})["y"], atol=1e-5
    )


@pytest.mark.parametrize(
    ("graph", "weights", "message"),
    [
        (
            "a = MatMul (x, w1) b = Sigmoid (a) y = MatMul (b, w2)",
            {"w1": (4, 4), "w2": (4, 2)},
            r"reads the result of Sigmoid \(node 'b'\)",
        ),
        ("a = Relu (x) y = Tanh (a)", {}, "no layer with constant weights .* its operators are Relu, Tanh"),
        ("a = MatMul (x, w1) b = Relu (a) y = MatMul (b, w1)", {"w1": (4, 4)}, "share the weights 'w1'"),
        ("y = Gemm <alpha = 0.5> (x, w1)", {"w1": (4, 2)}, "has alpha, beta or transA"),
        (
            "a = MatMul (x, w1) b = Mul (a, c) y = MatMul (b, w2)",
            {"w1": (4, 4), "w2": (4, 2), "c": (4,)},
            "reads the result of Mul",
        ),
    ],
)
def test_what_cannot_be_compressed_is_explained(parse_model, graph, weights, message):
    model = parse_model(f"m (float[N, 4] x) => (float[N, M] y) {{ {graph} }}", **weights)
    with pytest.raises(ModelError, match=message):
        find_layers(model, "m")
