from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tamis.native import compile_model, example_event, listing


def test_listing_has_a_line_per_statement(bundle_of):
    bundle = bundle_of("dense")
    lines = listing(compile_model(bundle.model, example_event(bundle)).narrow).splitlines()
    assert lines[0] == "input x: 12 floats"
    assert lines[-1] == "output score: 1 floats"
    assert any("in x[" in line and "weights(12 x 8)" in line and "relu(sum)" in line for line in lines)
    assert any("out score[1, 1]" in line and "sigmoid" in line for line in lines)


def test_body_of_a_loop_is_indented(bundle_of):
    bundle = bundle_of("deep-jet")
    lines = listing(compile_model(bundle.model, example_event(bundle)).narrow).splitlines()
    (first,) = [i for i, line in enumerate(lines) if line.endswith("loop 7 times")]
    assert lines[first + 1].startswith("       ")
    assert any("per iteration" in line for line in lines)


def test_sorts_gathers_and_scatters_are_listed():
    nodes = [
        helper.make_node("TopK", ["x", "k"], ["highest", "places"], axis=1, largest=1),
        helper.make_node("GatherElements", ["x", "places"], ["again"], axis=1),
        helper.make_node("ScatterElements", ["x", "places", "again"], ["y"], axis=1, reduction="add"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 5])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "highest")]
    graph = helper.make_graph(nodes, "g", [x], outputs, [numpy_helper.from_array(np.array([2]), "k")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    text = listing(compile_model(model, {"x": np.arange(5, dtype=np.float32)[None]}).narrow)
    assert "the 2 largest of each row of in x[1, 5]" in text
    assert "= in x[1, 2] by (5, 0) at t#2[1, 2] (of 5, 1 apart)" in text
    assert " add= " in text
