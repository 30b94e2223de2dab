"""Inputs that shapes depend on are held at the values of the example, and loops over them are unrolled."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tamis import open as open_session
from tamis import pack
from tamis._base import InputMismatchError, ModelError
from tamis.bundle import Reference
from tamis.native import Ways, compile_model
from tamis.native.build import build
from tamis.native.call import open_kernel
from tamis.native.export import export_c

ONE_WAY = Ways(wide=(), narrow=(1,))


def _model(nodes, inputs, outputs=("y",), opset: int = 18, constants=()) -> onnx.ModelProto:
    types = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64, np.dtype(bool): TensorProto.BOOL}  # fmt: skip
    infos = [
        helper.make_tensor_value_info(name, types[array.dtype], array.shape) for name, array in inputs.items()
    ]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(nodes, "g", infos, results, list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _sum_of_axes(axes) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    event = {"x": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "axes": np.array(axes)}
    return _model([helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)], event), event


@pytest.mark.parametrize("axes", [[0], [1, 2]])
def test_code_is_compiled_for_the_axes_of_the_example(axes) -> None:
    """The cache has one entry for each value."""
    model, event = _sum_of_axes(axes)
    kernel = open_kernel(build(model.SerializeToString(), event, ways=ONE_WAY), batched=False)
    (found,) = kernel([event["x"], event["axes"]])
    assert np.array_equal(found, event["x"].sum(tuple(axes)))


def test_other_values_are_rejected_in_each_call() -> None:
    model, event = _sum_of_axes([0])
    kernel = open_kernel(build(model.SerializeToString(), event, ways=ONE_WAY), batched=False)
    with pytest.raises(InputMismatchError, match=r"input 1 is \[2\].*compiled for \[0\]"):
        kernel([event["x"], np.array([2])])
    with pytest.raises(InputMismatchError, match="input 1 is int32"):
        kernel([event["x"], np.array([0], np.int32)])
    axes, result = event["axes"].copy(), np.empty((3, 4), np.float32)
    bound = kernel.bind([event["x"], axes], [result])
    bound()
    assert np.array_equal(result, event["x"].sum(0))
    axes[0] = 1
    with pytest.raises(InputMismatchError, match="compiled for"):
        bound()


def test_packed_models_are_compiled_for_the_axes_of_the_given_inputs(tmp_path) -> None:
    model, event = _sum_of_axes([0, 2])
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"]))
    bundle = pack(model, tmp_path / "sum.tamis", inputs=event).bundle
    with open_session(bundle, engine="native") as session:
        assert np.array_equal(session(event["x"], event["axes"]), event["x"].sum((0, 2)))
        assert session.engines == ("native", "onnxruntime")
        other = session(event["x"], np.array([1, 2]))  # by the other engine
        assert np.array_equal(other, event["x"].sum((1, 2)))


def test_exported_header_names_the_values(tmp_path) -> None:
    model, event = _sum_of_axes([0, 2])
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [3]))
    bundle = pack(model, tmp_path / "sum.tamis", inputs=event).bundle
    header = next(export_c(bundle, tmp_path / "c").folder.glob("sum.h")).read_text()
    assert "axes: 2 floats; int64 in the model; not read: the code is for [0, 2]" in header


def test_nothing_is_held_where_that_is_not_wanted() -> None:
    model, event = _sum_of_axes([0])
    with pytest.raises(ModelError, match="'axes' depends on the event"):
        compile_model(model, event, hold=False)


def test_large_and_computed_inputs_are_not_held() -> None:
    shape = np.arange(1.0, 3.0, dtype=np.float32)
    nodes = [
        helper.make_node("Cast", ["x"], ["shape"], to=TensorProto.INT64),
        helper.make_node("Expand", ["x", "shape"], ["y"]),
    ]
    with pytest.raises(ModelError, match="depends on the event"):
        compile_model(_model(nodes, {"x": shape}), {"x": shape})
    places = np.zeros((5, 20), np.int64)
    nodes = [helper.make_node("NonZero", ["i"], ["n"]), helper.make_node("Cast", ["n"], ["y"], to=1)]
    with pytest.raises(ModelError, match="NonZero"):
        compile_model(_model(nodes, {"i": places}), {"i": places})


def _info(name: str, kind: int = TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, None)


def test_loops_and_scans_agree_with_float64() -> None:
    """The number of steps is an input, and the condition of a branch, too."""
    body = helper.make_graph(
        [
            helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["state", "f"], ["shifted"]),
            helper.make_node("Mul", ["shifted", "scale"], ["next"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Identity", ["next"], ["row"]),
        ],
        "body",
        [_info("i", TensorProto.INT64), _info("go", TensorProto.BOOL), _info("state")],
        [_info("go_on", TensorProto.BOOL), _info("next"), _info("row")],
    )
    scanned = helper.make_graph(
        [helper.make_node("Add", ["total", "item"], ["sum"]), helper.make_node("Tanh", ["sum"], ["out"])],
        "scanned", [_info("total"), _info("item")], [_info("sum"), _info("out")],
    )  # fmt: skip
    branches = {
        f"{name}_branch": helper.make_graph([helper.make_node(kind, ["rows"], [f"{name}_out"])], name, [], [_info(f"{name}_out")])
        for name, kind in (("then", "Neg"), ("else", "Abs"))
    }  # fmt: skip
    nodes = [
        helper.make_node("Loop", ["steps", "", "x"], ["last", "rows"], body=body),
        helper.make_node("Scan", ["x", "rows"], ["a", "b"], body=scanned, num_scan_inputs=1),
        helper.make_node("If", ["flag"], ["c"], **branches),
    ]  # fmt: skip
    event = {"x": np.linspace(-1, 1, 5).astype(np.float32), "steps": np.array(3), "flag": np.array(True)}
    scale = numpy_helper.from_array(np.float32(0.7), "scale")
    model = _model(nodes, event, ("last", "rows", "a", "b", "c"), constants=[scale])
    kernel = open_kernel(build(model.SerializeToString(), event, ways=ONE_WAY), batched=False)
    found = kernel(list(event.values()))
    for result, expected in zip(found, Reference(model)(event).values(), strict=True):
        assert np.allclose(result, expected, atol=1e-6)
