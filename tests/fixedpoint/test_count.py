"""Counts: by hand for small programs, and consistent between the integer part and floats."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import parse
from tests.fixedpoint.conftest import INPUT, draw, make

from tamis.fixedpoint import count_model
from tamis.fixedpoint.count import set_bits
from tamis.fixedpoint.luts import signed_digits


def counted(model):
    layers, program = count_model(model, draw(model, 1))
    return {layer.name: layer for layer in layers}, program


def with_weights(text, **weights):
    from onnx import numpy_helper

    model = parse(text)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.float32(array), name) for name, array in weights.items()
    )
    return model


def test_a_product_is_counted_by_hand():
    model = with_weights(
        "m (float[N, 8] x) => (float[N, 2] y) {" + INPUT + "d = MatMul (q, w) y = Add (d, b) }",
        w=[[1.0, 0.0], [0.4375, -0.625], *[[0.0, 0.0]] * 6],
        b=[0.5, 0.0],
    )
    layers, program = counted(model)
    layer = layers["w"]
    assert program is not None
    assert (layer.macs, layer.macs_nonzero, layer.additions) == (16, 3, 1)
    # 1, 7/16 and -5/8 span 1, 3 and 3 bits; inputs have 8
    assert layer.ebops == (1 + 3 + 3) * 8
    assert (layer.weights, layer.weights_nonzero, layer.weight_bits) == (16, 3, 2 + 4 + 4)
    # arXiv:2102.11289 with weights of 4 bits and 8 inputs
    assert layer.bops == 3 * 4 * 8 + 16 * (4 + 8 + 3)


def test_padding_and_weights_of_zero_cost_nothing():
    text = (
        "m (float[N, 1, 4] x) => (float[N, 1, 4] y) {"
        + INPUT
        + "y = Conv <kernel_shape = [3], pads = [1, 1]> (q, k) }"
    )
    layers, _ = counted(with_weights(text, k=[[[1.0, 0.0, 0.75]]]))
    assert layers["k"].macs == 3 * 4
    assert layers["k"].macs_nonzero == 3 + 3  # each weight reads the padding once
    assert layers["k"].ebops == 3 * 1 * 8 + 3 * 2 * 8


@pytest.mark.parametrize("name", ["dense", "image", "sequence", "squares"])
def test_fixed_point_and_floats_agree_on_products(name):
    model = make(name)
    exact, program = counted(model)
    floats, none = count_model(without_quantiser(model), draw(model, 1))
    assert program is not None
    assert none is None
    products = {layer.name: layer for layer in floats if layer.weights}
    for layer_name, layer in products.items():
        assert exact[layer_name].weights == layer.weights
        assert exact[layer_name].weights_nonzero == layer.weights_nonzero
        assert exact[layer_name].macs <= layer.macs  # floats multiply by the scales of quantisers, too


def without_quantiser(model):
    """Return the graph with identities instead of its rounding and limits."""
    from onnx import ModelProto

    plain = ModelProto()
    plain.CopyFrom(model)
    for node in plain.graph.node:
        if node.op_type in ("Floor", "Round", "Clip"):
            node.op_type = "Identity"
            del node.input[1:]
    return plain


def test_trees_count_thresholds_once_and_leaves():
    model = make("trees BRANCH_LEQ")
    layers, program = counted(model)
    layer = next(layer for layer in layers.values() if layer.arithmetic == "fixed")
    forest = next(step.forest for step in program.steps if hasattr(step, "forest"))
    pairs = set(zip(forest.features.tolist(), forest.thresholds.tolist(), strict=True))
    assert layer.comparisons == len(pairs)
    assert layer.look_ups == 2 * len(forest.roots)
    assert layer.additions == 2 * (len(forest.roots) - 1) + 2  # and the base values


def test_tables_count_their_entries():
    layers, _ = counted(make("table"))
    layer = next(layer for layer in layers.values() if layer.arithmetic == "fixed")
    assert layer.look_ups == 8
    assert layer.weights == 16
    assert layer.macs == 0


def test_recurrent_layers_count_every_step():
    from tamis.bundle import Bundle, rows_of

    bundle = Bundle.open("topology-gru")
    layers, program = count_model(bundle.model, rows_of(bundle.golden.inputs, slice(0, 1)))
    assert program is None
    recurrent = next(layer for layer in layers if "gru" in layer.name)
    assert recurrent.macs == 100 * recurrent.weights  # particles
    assert all(layer.ebops is None and layer.lut is None for layer in layers)


def test_energy_is_that_of_the_table():
    model = with_weights("m (float[N, 4] x) => (float[N, 3] y) { y = MatMul (x, w) }", w=np.ones((4, 3)))
    layers, _ = counted(model)
    assert layers["w"].energy_pj == pytest.approx(12 * (3.7 + 0.9))


def test_set_bits_and_signed_digits():
    values = np.array([0, 1, -2, 0.75, 7, 5, 0.4375])
    assert set_bits(values).tolist() == [0, 1, 1, 2, 3, 3, 3]
    assert signed_digits(values).tolist() == [0, 1, 1, 2, 2, 2, 2]
