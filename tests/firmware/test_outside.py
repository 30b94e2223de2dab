"""The sentences about what of a model is not in its hardware."""

from __future__ import annotations

from tests.conftest import parse
from tests.fixedpoint.conftest import draw, make, quantise

from tamis.firmware.outside import outside_hardware
from tamis.fixedpoint import split_graph


def test_the_rounding_of_inputs_and_a_softmax_are_the_hosts():
    model = make("softmax")
    assert outside_hardware(split_graph(model, draw(model, 1))) == [
        "Before the hardware, the host computes in floating point: Mul, Round, Clip.",
        "After the hardware, the host computes in floating point: Softmax.",
    ]


def test_layers_before_the_first_rounding_are_named_with_their_weights():
    text = (
        "m (float[N, 8] x) => (float[N, 3] y) { d = MatMul (x, w1) r = Relu (d)"
        + quantise("r", "q", fraction=3, low=0, high=63)
        + "y = MatMul (q, w2) }"
    )
    model = parse(text, w1=(8, 6), w2=(6, 3))
    for tensor in model.graph.initializer:
        tensor.raw_data = b"\x00\x00\x80\x3e" * (tensor.dims[0] * tensor.dims[1])  # a quarter
    before, weights = outside_hardware(split_graph(model, draw(model, 1)))
    assert (
        before == "Before the hardware, the host computes in floating point: MatMul, Relu, Mul, Round, Clip."
    )
    assert (
        "layers with 48 weights, which are not in hardware because the inputs of the model are not quantised"
        in weights
    )
