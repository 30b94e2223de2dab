"""Expand small constants to the shape that they are broadcast to, so that element-wise kernels run over long rows.

1. Add, Sub, Mul, Div(x[N, 100, 3], c[3]) -> the same with c[1, 100, 3]

A kernel whose innermost axis has three elements spends its time on loop overhead. Scalars are left alone, since every runtime
handles them, and so are constants after a product or a convolution, which runtimes fuse with a short constant only.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from tamis.bundle.model import EXPANDED_SUFFIX
from tamis.bundle.rewrite.graph import add_initializer, constant, fresh_name, rewrite_each

ELEMENTWISE = frozenset(["Add", "Sub", "Mul", "Div"])
FUSING_OPERATORS = frozenset(["MatMul", "Gemm", "Conv", "ConvTranspose"])
MAX_EXPANDED_BYTES = 65_536
SHORT_ROW = 16  # elements; from here on the innermost axis is long enough for the kernels


def expand_constants(graph: ir.Graph) -> int:
    """Expand every such constant; return how many."""
    ShapeInferencePass()(ir.Model(graph, ir_version=10))
    return rewrite_each(graph, ELEMENTWISE, _rewrite)


def _rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    for position in (0, 1):
        small, other = constant(node.inputs[position]), node.inputs[1 - position]
        if small is None or other is None or constant(other) is not None:
            continue
        producer = other.producer()
        inner = _inner_shape(other)
        if (
            (producer is not None and producer.op_type in FUSING_OPERATORS)
            or inner is None
            or small.ndim > len(inner)
        ):
            return False
        try:
            wide = np.broadcast_to(small, inner)[np.newaxis]
        except ValueError:
            return False  # the constant itself is the wider one
        if (
            small.size == 1
            or wide.size == small.size
            or inner[-1] >= SHORT_ROW
            or wide.nbytes > MAX_EXPANDED_BYTES
        ):
            return False
        node.replace_input_with(position, _expanded(graph, node.inputs[position], wide))
        return True
    return False


def _expanded(graph: ir.Graph, small: ir.Value | None, wide: np.ndarray) -> ir.Value:
    """Return the expanded constant, shared by all nodes that use it in this shape."""
    name = f"{small.name if small is not None else 'constant'}{EXPANDED_SUFFIX}"
    existing = graph.initializers.get(name)
    if existing is not None and existing.shape == ir.Shape(wide.shape):
        return existing
    return add_initializer(graph, name if existing is None else fresh_name(graph, name), wide)


def _inner_shape(value: ir.Value) -> tuple[int, ...] | None:
    """Return the shape of one event, or None if it is not fixed."""
    if value.shape is None or len(value.shape) < 2 or not all(isinstance(d, int) for d in value.shape[1:]):
        return None
    return tuple(int(str(d)) for d in value.shape[1:])
