"""Convolutions by tiles: about half of the multiply-adds, within 1e-6 of float64, bit-identical in every mode."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tamis.native import compile_model
from tamis.native.program import Contract, Maps
from tamis.native.targets import host_target, targets_of

RNG = np.random.default_rng(7)
OTHER_TARGETS = [target for target in targets_of() if target.name != host_target().name]


def layers(shape, *convolutions, residual=False, bias=True):
    """Return a model of convolutions with ReLU between them; each is (outputs, kernel) and attributes."""
    nodes, constants, channels, name = [], [], shape[1], "x"
    for number, (outputs, kernel, attributes) in enumerate(convolutions):
        groups = attributes.get("group", 1)
        weights = RNG.normal(size=(outputs, channels // groups, *kernel)) / np.sqrt(
            prod(kernel) * channels / groups
        )
        biases = RNG.normal(size=outputs)
        constants += [
            numpy_helper.from_array(weights.astype(np.float32), f"w{number}"),
            numpy_helper.from_array(biases.astype(np.float32), f"b{number}"),
        ]
        inputs = [name, f"w{number}"] + ([f"b{number}"] if bias else [])
        nodes.append(helper.make_node("Conv", inputs, [f"c{number}"], **attributes))
        last = f"c{number}"
        if residual and number:
            nodes.append(helper.make_node("Add", [last, name], [f"a{number}"]))
            last = f"a{number}"
        nodes.append(helper.make_node("Relu", [last], [f"r{number}"]))
        name, channels = f"r{number}", outputs
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


SAME, ROW = {"pads": [1, 1, 1, 1]}, {"pads": [1, 1]}
MODELS = {
    "whole_rows": layers((1, 16, 34), (20, (3,), {})),
    "rows_with_a_rest": layers((1, 16, 25), (24, (3,), {}), (20, (3,), {})),
    "rows_of_an_input": layers((1, 12, 98), (24, (3,), {}), bias=False),
    "pairs": layers((1, 16, 8, 6), (24, (3, 3), SAME)),
    "one_tile": layers((1, 16, 6, 6), (24, (3, 3), SAME)),
    "rows_of_four": layers((1, 16, 8, 16), (24, (3, 3), SAME), (24, (3, 3), SAME)),
    "rows_of_eight": layers((1, 16, 7, 32), (24, (3, 3), SAME), (24, (3, 3), SAME), residual=True),
    "rows_of_two": layers((1, 24, 9, 8), (32, (3, 3), SAME), (32, (3, 3), SAME), residual=True),
    "rows_of_three": layers((1, 16, 5, 12), (20, (3, 3), SAME), (20, (3, 3), SAME)),
    "tall_kernel": layers((1, 6, 12, 20), (17, (5, 3), {"pads": [2, 1, 2, 1]})),
    "rows_apart": layers((1, 12, 13, 18), (24, (3, 3), {"strides": [2, 1], "pads": [1, 1, 1, 1]})),
    "rows_dilated": layers((1, 12, 11, 18), (24, (3, 3), {"dilations": [2, 1]})),
    "groups": layers((1, 32, 9, 10), (48, (3, 3), {"group": 2, "pads": [1, 1, 1, 1]})),
    "five": layers((1, 16, 6, 13), (24, (5, 5), {"pads": [2, 2, 2, 2]})),
    "every_second": layers((1, 8, 18, 32), (24, (5, 5), {"strides": [2, 2], "pads": [2, 2, 2, 2]})),
    "every_second_of_six": layers((1, 12, 70), (24, (6,), {"strides": [2]})),
    "every_third": layers((1, 12, 77), (24, (8,), {"strides": [3]})),
    "volume": layers((1, 6, 5, 6, 10), (16, (3, 3, 3), {"pads": [1] * 6})),
}
PLAIN_MODELS = {
    "few_channels": layers((1, 1, 34), (20, (3,), {})),
    "few_outputs": layers((1, 16, 34), (2, (3,), {})),
    "depthwise": layers((1, 16, 9, 9), (16, (3, 3), {"group": 16, "pads": [1] * 4})),
    "short_row": layers((1, 16, 9, 1), (24, (3, 3), SAME)),
}


def events(model, count=40):
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return {"x": np.random.default_rng(3).normal(size=(count, *shape)).astype(np.float32)}


def multiplications(model) -> int:
    statements = compile_model(model, {"x": events(model, 1)["x"][0]}).wide.statements
    return sum(prod(one.positions) * one.weights.size for one in statements if isinstance(one, Contract))


def direct(model) -> int:
    shapes = {one.name: one for one in [*model.graph.value_info, *model.graph.output]}
    weights = {one.name: list(one.dims) for one in model.graph.initializer}
    total = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            out = [dim.dim_value for dim in shapes[node.output[0]].type.tensor_type.shape.dim]
            total += prod(out) * prod(weights[node.input[1]][1:])
    return total


def test_results_agree_with_float64_and_between_modes(check, case_of) -> None:
    check({name: case_of(model, events(model)) for name, model in MODELS.items()})


@pytest.mark.slow  # portable code rounds multiply-adds in software: about a minute
@pytest.mark.parametrize("target", OTHER_TARGETS, ids=lambda target: target.name)
def test_other_instruction_sets_agree_with_float64_and_between_modes(target, check, case_of) -> None:
    names = list(MODELS)[target.lanes // 8 % 2 :: 2]
    check({name: case_of(MODELS[name], events(MODELS[name])) for name in names}, target=target)


@pytest.mark.parametrize("name", MODELS)
def test_tiles_take_fewer_multiplications(name) -> None:
    model = MODELS[name]
    assert multiplications(model) < 0.75 * direct(model)


@pytest.mark.parametrize("name", PLAIN_MODELS)
def test_convolutions_that_would_not_gain_are_not_tiled(name) -> None:
    model = PLAIN_MODELS[name]
    compiled = compile_model(model, {"x": events(model, 1)["x"][0]})
    assert not any(isinstance(one, Maps) for one in compiled.wide.statements)


@pytest.mark.parametrize("operator", ["Floor", "Round", "Ceil"])
def test_models_that_round_to_steps_are_not_tiled(operator) -> None:
    """Tiles change the last bit of a sum, which could move a rounded value to the next step."""
    name = next(iter(MODELS))
    model = onnx.ModelProto()
    model.CopyFrom(MODELS[name])
    last = model.graph.node[-1]
    result = last.output[0]
    last.output[0] = "before"
    model.graph.node.append(helper.make_node(operator, ["before"], [result]))
    event = {"x": events(model, 1)["x"][0]}
    assert any(isinstance(one, Maps) for one in compile_model(MODELS[name], event).wide.statements)
    assert not any(isinstance(one, Maps) for one in compile_model(model, event).wide.statements)


@pytest.mark.slow
def test_sanitizers_find_no_access_outside_of_arrays(sanitize, case_of) -> None:
    report = sanitize({name: case_of(model, events(model, 1)) for name, model in MODELS.items()})
    assert not report, report[:3000]
