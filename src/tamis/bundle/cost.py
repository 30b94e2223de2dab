"""The cost of one event, counted from the graph: arithmetic, weights, and the data of the largest operator."""

from __future__ import annotations

import numpy as np
import onnx

from tamis.bundle.manifest import Cost
from tamis.bundle.reference import to_float64

FLOAT_BYTES = 4
MULTIPLYING_OPS = frozenset(["Conv", "ConvTranspose", "MatMul", "Gemm", "LSTM", "GRU"])
FREE_OPS = frozenset(
    [
        "Identity",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Concat",
        "Split",
        "Slice",
        "Shape",
        "Constant",
        "ConstantOfShape",
        "Cast",
        "Gather",
        "GatherND",
        "GatherElements",
        "Expand",
        "Tile",
        "Dropout",
        "Pad",
        "Resize",
        "Upsample",
    ]
)


def count_cost(model: onnx.ModelProto, one_event: dict[str, np.ndarray]) -> Cost | None:
    """Evaluate the graph once and count: 2 flops per multiply-add, 1 per element of other operators; None for trees."""
    if any(node.domain == "ai.onnx.ml" for node in model.graph.node):
        return None  # the work of a tree cannot be counted from shapes
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    shapes = _shapes(model, one_event) | weights
    flops = sum(_flops(node, shapes) for node in model.graph.node)
    sizes = {name: _size(shape) for name, shape in shapes.items() if name not in weights}
    activations = (
        sum(sizes.get(name, 0) for name in (*node.input, *node.output)) for node in model.graph.node
    )
    return Cost(
        flops=int(flops),
        weight_bytes=int(sum(_size(shape) for shape in weights.values()) * FLOAT_BYTES),
        activation_bytes=int(FLOAT_BYTES * max(activations, default=0)),
    )


def count_multiplications(model: onnx.ModelProto, one_event: dict[str, np.ndarray]) -> int:
    """Evaluate the graph once and count the multiply-adds of dense, convolutional and recurrent layers."""
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    shapes = _shapes(model, one_event) | weights
    return sum(_flops(node, shapes) // 2 for node in model.graph.node if node.op_type in MULTIPLYING_OPS)


def _shapes(model: onnx.ModelProto, one_event: dict[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all tensors; sequences have none."""
    from onnx.reference import ReferenceEvaluator

    from tamis.bundle.reference_operators import REFERENCE_OPERATORS

    doubled = to_float64(model)
    feeds = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in one_event.items()}
    with np.errstate(all="ignore"):
        values = ReferenceEvaluator(doubled, new_ops=list(REFERENCE_OPERATORS)).run(
            None, feeds, intermediate=True
        )
    return {
        name: value.shape for name, value in values.items() if isinstance(value, (np.ndarray, np.generic))
    }


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _flops(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    output_size = _size(shapes[node.output[0]]) if node.output and node.output[0] in shapes else 0
    inputs = [shapes.get(name, ()) for name in node.input]
    if node.op_type in FREE_OPS or not inputs:
        return 0
    if node.op_type == "Conv":
        return 2 * output_size * _size(inputs[1][1:])
    if node.op_type == "ConvTranspose":
        return 2 * _size(inputs[0]) * _size(inputs[1][1:])
    if node.op_type in ("MatMul", "Gemm"):
        inner = inputs[0][-1] if inputs[0] else 1
        if node.op_type == "Gemm" and any(a.name == "transA" and a.i for a in node.attribute):
            inner = inputs[0][0]
        return 2 * output_size * inner
    if node.op_type in ("LSTM", "GRU"):
        steps = inputs[0][0] * inputs[0][1]
        return 2 * steps * (_size(inputs[1]) + _size(inputs[2]))
    if node.op_type.startswith("Reduce"):
        return max(output_size, *(_size(shape) for shape in inputs))
    return output_size
