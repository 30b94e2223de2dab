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
    """Expand small constants to the shapes that they are broadcast to; return their number."""
    ShapeInferencePass()(ir.Model(graph, ir_version=10))
    return rewrite_each(graph, ELEMENTWISE, _rewrite)


def _rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    for position in (0, 1):
        small, other = constant(node.inputs[position]), node.inputs[1 - position]
        if small is None or other is None or constant(other) is not None:
            continue
        producer = other.producer()
        if producer is not None and producer.op_type in FUSING_OPERATORS:
            return False
        shape = other.shape
        if shape is None or len(shape) < 2 or not all(isinstance(d, int) for d in shape[1:]):
            return False
        inner = tuple(int(str(d)) for d in shape[1:])  # of one event
        if small.ndim > len(inner):
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
        # the expanded constant is shared by all nodes that use it in this shape
        narrow = node.inputs[position]
        name = f"{narrow.name if narrow is not None else 'constant'}{EXPANDED_SUFFIX}"
        expanded = graph.initializers.get(name)
        if expanded is None or expanded.shape != ir.Shape(wide.shape):
            expanded = add_initializer(graph, name if expanded is None else fresh_name(graph, name), wide)
        node.replace_input_with(position, expanded)
        return True
    return False
