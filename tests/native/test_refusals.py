"""A model that cannot be compiled is rejected with a message that names the node, before memory is allocated."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tamis._base import ModelError
from tamis.native import Ways, compile_model
from tamis.native.emission import emit
from tamis.native.targets import find_target


def _model(nodes, constants=(), shape=(1, 4)):
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _message(nodes, constants=(), shape=(1, 4)) -> str:
    with pytest.raises(ModelError) as caught:
        compile_model(_model(nodes, constants, shape), {"x": np.ones(shape, np.float32)})
    return str(caught.value)


def test_unsupported_operators_and_attributes_are_named() -> None:
    message = _message([helper.make_node("Det", ["x"], ["y"], name="volume")], shape=(1, 3, 3))
    assert all(part in message for part in ("'volume'", "Det", "onnxruntime"))
    regions = [np.array([[0, 0, 3, 3]], np.float32), np.zeros(1, np.int64)]
    assert "mode='max'" in _message(
        [helper.make_node("RoiAlign", ["x", "r", "b"], ["y"], mode="max", sampling_ratio=2)],
        [numpy_helper.from_array(array, name) for array, name in zip(regions, "rb", strict=True)],
        (1, 2, 6, 6),
    )


def test_shapes_that_depend_on_the_event_are_rejected() -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["places"]),
        helper.make_node("Cast", ["places"], ["y"], to=TensorProto.FLOAT),
    ]
    assert "NonZero" in _message(nodes)
    nodes = [
        helper.make_node("Cast", ["x"], ["shape"], to=TensorProto.INT64),
        helper.make_node("Expand", ["x", "shape"], ["y"]),
    ]
    assert "depends on the event" in _message(nodes, shape=(4,))


def test_huge_tensor_is_rejected_before_it_is_computed() -> None:
    shape = numpy_helper.from_array(np.array([50_000, 50_000, 4]), "shape")
    assert "[50000, 50000, 4]" in _message([helper.make_node("Expand", ["x", "shape"], ["y"])], [shape])


def test_many_large_tensors_are_rejected_together() -> None:
    names = ["x", *(f"t{number}" for number in range(9)), "y"]
    nodes = [helper.make_node("Tanh", [a], [b]) for a, b in itertools.pairwise(names)]
    message = _message(
        [helper.make_node("Expand", ["x", "shape"], ["t0"]), *nodes[1:]],
        [numpy_helper.from_array(np.array([4000, 4000, 4]), "shape")],
    )
    assert "together" in message


def test_scratch_memory_is_bounded(monkeypatch) -> None:
    model = _model([helper.make_node("Softmax", ["x"], ["y"], axis=1)], shape=(1, 25, 25))
    compiled = compile_model(model, {"x": np.ones((1, 25, 25), np.float32)})
    monkeypatch.setattr("tamis.native.limits.MOST_ELEMENTS_TOGETHER", 500)
    with pytest.raises(ModelError, match="scratch memory per event"):
        emit(compiled.wide, compiled.narrow, find_target("avx512"), Ways())


def test_graph_of_too_many_nodes_is_rejected() -> None:
    names = ["x", *(f"t{number}" for number in range(100_000)), "y"]
    nodes = [helper.make_node("Relu", [a], [b]) for a, b in itertools.pairwise(names)]
    assert "100001" in _message(nodes)


def test_long_chains_are_evaluated_in_pieces() -> None:
    names = ["x", *(f"t{number}" for number in range(3000)), "y"]
    nodes = [helper.make_node("Tanh", [a], [b]) for a, b in itertools.pairwise(names)]
    assert 100 < len(compile_model(_model(nodes), {"x": np.ones((1, 4), np.float32)}).wide.statements) < 1000


def test_integers_that_floats_cannot_represent_are_rejected() -> None:
    constant = numpy_helper.from_array(np.array([2**40, 1, 2, 3]), "c")
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64),
        helper.make_node("Add", ["i", "c"], ["j"]),
        helper.make_node("Cast", ["j"], ["y"], to=TensorProto.FLOAT),
    ]
    assert str(2**40) in _message(nodes, [constant])
