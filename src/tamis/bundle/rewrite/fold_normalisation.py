"""Fold an affine preprocessing of the inputs into the first layer that multiplies them.

1. (x - mean) / std, in any order of Add, Sub, Mul, Div with constants, then any of Unsqueeze, Squeeze, Transpose,
   then Conv without padding           -> Conv(x, W * scale, B + sum(W * shift))
2. the same chain, then MatMul or Gemm -> the same with W[k, :] * scale[k]

Exact for convolutions without padding: a padded zero is the mean of the normalised data, which no bias can reproduce.
Scale and shift have to be constant along the axes that the kernel slides over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tamis.bundle.rewrite.graph import constant, integer, ints, only_consumer, replace_constant, text

AFFINE = ("Add", "Sub", "Mul", "Div")
LAYOUT = ("Unsqueeze", "Squeeze", "Transpose")


@dataclass(frozen=True)
class AffineMap:
    """x * scale + shift, both with the shape of one event."""

    scale: np.ndarray
    shift: np.ndarray

    def then(self, node: ir.Node, value: ir.Value) -> AffineMap | None:
        """Return this map followed by an arithmetic or layout node, or None for any other node."""
        if node.op_type in AFFINE:
            return self._arithmetic(node, value)
        if node.op_type == "Transpose":
            order = ints(node, "perm", list(range(self.scale.ndim))[::-1])
            return (
                AffineMap(self.scale.transpose(order), self.shift.transpose(order)) if order[0] == 0 else None
            )
        axes = constant(node.inputs[1]) if len(node.inputs) > 1 else np.array(ints(node, "axes", []))
        if axes is None or not axes.size or 0 in axes:
            return None
        change = np.expand_dims if node.op_type == "Unsqueeze" else np.squeeze
        return AffineMap(change(self.scale, tuple(axes)), change(self.shift, tuple(axes)))

    def _arithmetic(self, node: ir.Node, value: ir.Value) -> AffineMap | None:
        first = node.inputs[0] is value
        number = constant(node.inputs[1 if first else 0])
        if number is None or number.dtype.kind != "f":
            return None
        c = number.astype(np.float64)
        if np.broadcast_shapes(c.shape, self.scale.shape) != self.scale.shape:
            return None
        if node.op_type == "Add":
            return AffineMap(self.scale, self.shift + c)
        if node.op_type == "Mul":
            return AffineMap(self.scale * c, self.shift * c)
        if node.op_type == "Sub":
            return AffineMap(self.scale, self.shift - c) if first else AffineMap(-self.scale, c - self.shift)
        return AffineMap(self.scale / c, self.shift / c) if first and np.all(c != 0) else None


def fold_normalisation(graph: ir.Graph) -> int:
    """Fold the affine start of each input's chains; return the number of changed layers."""
    return sum(_fold(graph, value, node) for value in list(graph.inputs) for node in list(value.consumers()))


def _fold(graph: ir.Graph, source: ir.Value, node: ir.Node) -> bool:
    shape = source.shape
    if shape is None or len(shape) < 2:
        return False
    size = (1, *(d for d in shape[1:] if isinstance(d, int)))
    if len(size) != len(shape):
        return False
    affine: AffineMap | None = AffineMap(np.ones(size), np.zeros(size))
    value, arithmetic, first = source, [], node
    while node.op_type in (*AFFINE, *LAYOUT) and affine is not None:
        affine = affine.then(node, value)
        arithmetic += [node] if node.op_type in AFFINE else []
        value, follower = node.outputs[0], only_consumer(node.outputs[0])
        if follower is None:
            return False
        node = follower
    if affine is None or not arithmetic or node.inputs[0] is not value or first is node:
        return False
    folded = _into_conv(graph, node, affine) if node.op_type == "Conv" else _into_matrix(graph, node, affine)
    if folded:
        for step in arithmetic:
            carried = step.inputs[0] if constant(step.inputs[0]) is None else step.inputs[1]
            assert carried is not None  # noqa: S101 - one side of the arithmetic is the data
            step.outputs[0].replace_all_uses_with(carried)
            graph.remove(step, safe=True)
    return folded


def _into_conv(graph: ir.Graph, node: ir.Node, affine: AffineMap) -> bool:
    weights = constant(node.inputs[1])
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if weights is None or (bias is None and len(node.inputs) > 2 and node.inputs[2] is not None):
        return False
    rank, kernel = weights.ndim - 2, weights.shape[2:]
    if any(ints(node, "pads", [0] * 2 * rank)) or text(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return False
    if integer(node, "group", 1) != 1 or affine.scale.ndim != weights.ndim:
        return False
    scale, shift = affine.scale[0], affine.shift[0]
    for axis, size in enumerate(kernel, 1):
        covers = scale.shape[axis] == size and ints(node, "dilations", [1] * rank)[axis - 1] == 1
        if covers:
            continue
        if np.ptp(scale, axis=axis).any() or np.ptp(shift, axis=axis).any():
            return False
        scale, shift = scale.take([0], axis), shift.take([0], axis)
    new_bias = (weights * shift).sum(axis=tuple(range(1, weights.ndim)))
    new_bias = new_bias + (0 if bias is None else bias)
    replace_constant(graph, node, 1, (weights * scale).astype(weights.dtype), "weight")
    replace_constant(graph, node, 2, new_bias.astype(weights.dtype), "bias")
    return True


def _into_matrix(graph: ir.Graph, node: ir.Node, affine: AffineMap) -> bool:
    if node.op_type not in ("MatMul", "Gemm") or integer(node, "transA", 0):
        return False
    weights = constant(node.inputs[1])
    if (
        weights is None
        or weights.ndim != 2
        or any(np.ptp(a, axis=i).any() for a in (affine.scale, affine.shift) for i in range(1, a.ndim - 1))
    ):
        return False
    scale = affine.scale.reshape(-1, affine.scale.shape[-1])[0]
    shift = affine.shift.reshape(-1, affine.shift.shape[-1])[0]
    transposed = bool(integer(node, "transB", 0))
    matrix = weights.T if transposed else weights
    extra = (shift @ matrix) * (node.attributes["alpha"].as_float() if "alpha" in node.attributes else 1.0)
    if not _add_bias(graph, node, extra.astype(weights.dtype)):
        return False
    scaled = (matrix * scale[:, None]).astype(weights.dtype)
    replace_constant(graph, node, 1, scaled.T if transposed else scaled, "weight")
    return True


def _add_bias(graph: ir.Graph, node: ir.Node, extra: np.ndarray) -> bool:
    """Add to the layer's bias: the third input of Gemm, or the Add after a MatMul."""
    if node.op_type == "Gemm":
        bias = constant(node.inputs[2]) if len(node.inputs) > 2 else np.zeros_like(extra)
        if bias is None or ("beta" in node.attributes and node.attributes["beta"].as_float() != 1.0):
            return False
        replace_constant(graph, node, 2, np.broadcast_to(bias, extra.shape) + extra, "bias")
        return True
    follower = only_consumer(node.outputs[0])
    if follower is None or follower.op_type != "Add":
        return False
    position = 1 if follower.inputs[0] is node.outputs[0] else 0
    bias = constant(follower.inputs[position])
    if bias is None or bias.shape[-1:] not in ((1,), extra.shape):
        return False
    replace_constant(graph, follower, position, bias + extra, "bias")
    return True
