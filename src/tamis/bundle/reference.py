"""The reference: a model evaluated in float64 by the ONNX project's reference implementation.

Slow and obviously right. All floats of the graph (weights, constants, casts) are converted to float64 first, so that the
result is the exact mathematics of the graph for the given inputs up to float64 rounding; integers and booleans stay.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx.inliner
from onnx import AttributeProto, TensorProto, numpy_helper

from tamis._base import ModelError
from tamis.bundle.model import graphs
from tamis.bundle.sample import rows_of
from tamis.bundle.signature import Signature

NARROW_FLOAT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
# Operators of ai.onnx.ml always return float32: the index of the float output of each.
FLOAT32_OUTPUTS = {
    "TreeEnsembleClassifier": 1,
    "TreeEnsembleRegressor": 0,
    "LinearClassifier": 1,
    "LinearRegressor": 0,
    "SVMClassifier": 1,
    "SVMRegressor": 0,
    "Scaler": 0,
    "Normalizer": 0,
}
TYPE_ATTRIBUTES = {"Cast": "to", "EyeLike": "dtype", "SequenceEmpty": "dtype"}


class Reference:
    """A model evaluated in float64, or with `double=False` in its own precision: named arrays in, named arrays out."""

    def __init__(self, model: onnx.ModelProto, *, double: bool = True, shapes_only: bool = False) -> None:
        """Convert the graph to float64; with `shapes_only` costly operators return zeros."""
        from onnx.reference import ReferenceEvaluator

        from tamis.bundle.reference_operators import REFERENCE_OPERATORS
        from tamis.bundle.reference_shapes import SHAPE_ONLY_OPERATORS

        operators: dict[str, type] = {one.__name__: one for one in REFERENCE_OPERATORS}
        if shapes_only:
            operators |= {one.__name__: one for one in SHAPE_ONLY_OPERATORS}
        self._double = double
        doubled = to_float64(model) if double else model
        self.outputs = [value.name for value in doubled.graph.output]
        try:
            self._evaluator = ReferenceEvaluator(doubled, new_ops=list(operators.values()))
        except (NotImplementedError, RuntimeError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelError(f"the reference engine cannot run this model: {_first_line(error)}") from error

    def __call__(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs; floats are float64."""
        values = self.trace(arrays)
        return {name: np.asarray(values[name]) for name in self.outputs}

    def trace(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return every value of the graph by name, including inputs and constants."""
        feeds = {
            name: array.astype(np.float64) if self._double and array.dtype.kind == "f" else array
            for name, array in arrays.items()
        }
        try:
            with np.errstate(all="ignore"):
                values = self._evaluator.run(None, feeds, intermediate=True)
        except MemoryError:
            raise
        except Exception as error:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
            hint, text = "", str(error)
            is_mismatch = any(word in text for word in ("reshape", "broadcast", "dimension", "shapes ("))
            if is_mismatch and "type" not in text:  # tracing stores the sizes of the example in the graph
                hint = "; a traced graph may contain the sizes of its example: use inputs of those sizes (--inputs or --dims)"
            raise ModelError(
                f"the reference engine cannot evaluate this model on inputs of {shapes}: {_first_line(error)}{hint}"
            ) from error
        return {name: np.asarray(value) for name, value in values.items() if name and value is not None}


def evaluate(
    reference: Reference, signature: Signature, inputs: dict[str, np.ndarray], step: int = 16
) -> dict[str, np.ndarray]:
    """Evaluate events in chunks of `step`, to bound the memory."""
    if signature.rows == "none":
        return reference(inputs)
    step = signature.fixed_batch or step
    count = len(next(iter(inputs.values())))
    chunks = [reference(rows_of(inputs, slice(i, i + step))) for i in range(0, count, step)]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in reference.outputs}


def evaluate_node(
    node: onnx.NodeProto, inputs: Sequence[np.ndarray | None], model: onnx.ModelProto
) -> list[np.ndarray]:
    """Return the outputs of one node, by the ONNX project's reference implementation."""
    from onnx.reference import ReferenceEvaluator

    feeds = {
        name: array for name, array in zip(node.input, inputs, strict=True) if name and array is not None
    }
    infos = [
        onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in feeds.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = onnx.helper.make_graph([node], "node", infos, outputs)
    alone = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    return [np.asarray(result) for result in ReferenceEvaluator(alone).run(None, feeds)]


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


def to_float64(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of the model with all floats converted to float64."""
    doubled = onnx.ModelProto()
    doubled.CopyFrom(onnx.inliner.inline_local_functions(model) if model.functions else model)
    for graph in graphs(doubled.graph):
        del graph.value_info[:]
        for tensor in graph.initializer:
            _double_tensor(tensor)
        for value in (*graph.input, *graph.output):
            if value.type.tensor_type.elem_type in NARROW_FLOAT_TYPES:
                value.type.tensor_type.elem_type = TensorProto.DOUBLE
        _double_nodes(graph.node)
        _double_results(graph)
    return doubled


def _double_results(graph: onnx.GraphProto) -> None:
    """Cast the float32 outputs of ai.onnx.ml operators to float64, so that types match in later operators."""
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        graph.node.append(node)
        index = FLOAT32_OUTPUTS.get(node.op_type) if node.domain == "ai.onnx.ml" else None
        if index is not None and index < len(node.output) and node.output[index]:
            name = node.output[index]
            graph.node[-1].output[index] = f"{name}/single"
            graph.node.append(
                onnx.helper.make_node("Cast", [f"{name}/single"], [name], to=TensorProto.DOUBLE)
            )


def _double_nodes(nodes: Sequence[onnx.NodeProto]) -> None:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                _double_tensor(attribute.t)
            elif attribute.name == TYPE_ATTRIBUTES.get(node.op_type) and attribute.i in NARROW_FLOAT_TYPES:
                attribute.i = TensorProto.DOUBLE
            elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
                value = np.array(
                    attribute.f if attribute.name == "value_float" else list(attribute.floats), np.float64
                )
                attribute.CopyFrom(onnx.helper.make_attribute("value", numpy_helper.from_array(value)))


def _double_tensor(tensor: TensorProto) -> None:
    if tensor.data_type in NARROW_FLOAT_TYPES:
        values = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
