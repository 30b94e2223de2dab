"""Expand small constants to the shape that they are broadcast to, so that an element-wise kernel runs over plain rows.

1. Add, Sub, Mul, Div(x[N, 100, 3], c[3]) -> the same with c[1, 100, 3]

A kernel whose innermost axis is three numbers long spends its time on loops. Left alone are scalars, which every runtime
handles, and what follows a product or a convolution, which runtimes merge with a short constant only.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from tamis.bundle.model import EXPANDED
from tamis.bundle.rewrite.graph import constant, fresh_name, rewrite_each

ELEMENTWISE = frozenset(["Add", "Sub", "Mul", "Div"])
MERGED = frozenset(["MatMul", "Gemm", "Conv", "ConvTranspose"])
LIMIT_BYTES = 65_536
SHORT_ROW = 16  # from here on the innermost axis is long enough for the kernels


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
        if (producer is not None and producer.op_type in MERGED) or inner is None or small.ndim > len(inner):
            return False
        try:
            wide = np.broadcast_to(small, inner)[np.newaxis]
        except ValueError:
            return False  # the constant itself is the wider one
        if small.size == 1 or wide.size == small.size or inner[-1] >= SHORT_ROW or wide.nbytes > LIMIT_BYTES:
            return False
        node.replace_input_with(position, _written_out(graph, node.inputs[position], wide))
        return True
    return False


def _written_out(graph: ir.Graph, small: ir.Value | None, wide: np.ndarray) -> ir.Value:
    """Return the constant in its new shape: one for all that read it."""
    name = f"{small.name if small is not None else 'constant'}{EXPANDED}"
    found = graph.initializers.get(name)
    if found is not None and found.shape == ir.Shape(wide.shape):
        return found
    if found is not None:
        name = fresh_name(graph, name)
    value = ir.Value(name=name, const_value=ir.tensor(np.ascontiguousarray(wide), name=name))
    value.shape, value.dtype = ir.Shape(wide.shape), ir.DataType.from_numpy(wide.dtype)
    graph.register_initializer(value)
    return value


def _inner_shape(value: ir.Value) -> tuple[int, ...] | None:
    """Return the shape of one event, where it is fixed."""
    if value.shape is None or len(value.shape) < 2 or not all(isinstance(d, int) for d in value.shape[1:]):
        return None
    return tuple(int(str(d)) for d in value.shape[1:])
