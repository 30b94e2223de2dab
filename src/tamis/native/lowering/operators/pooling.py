"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np

from tamis.native.expression import Expression, Load, Number, call, cost
from tamis.native.graph import Node, Varying
from tamis.native.lowering.context import Context, unsupported
from tamis.native.lowering.operators.movement import padded
from tamis.native.lowering.operators.reduction import reduce
from tamis.native.lowering.operators.unfolding import window_pads
from tamis.native.lowering.rule import rule
from tamis.native.sizes import Size, greatest, in_row
from tamis.native.thresholds import UNROLLED_WINDOW


@rule("MaxPool", "AveragePool")
def _pool(context: Context, node: Node) -> None:
    """Reduce windows: small ones within an expression, large ones by a statement."""
    value, out = context.value(node.inputs[0]), context.shape(node.outputs[0])
    if any(context.is_needed(name) for name in node.outputs[1:]):
        raise unsupported(node, "its second output, the indices of the maxima, is not supported")
    kernel = node.integers("kernel_shape")
    spatial = len(kernel)
    stride, dilation = node.integers("strides", (1,) * spatial), node.integers("dilations", (1,) * spatial)
    before, after = window_pads(node, value.shape[2:], kernel, stride, dilation)
    size = value.shape[2:]
    for axis in range(spatial):  # with ceil_mode=1 the last window may reach beyond the end
        reach = (out[2 + axis] - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1
        after[axis] = greatest(after[axis], reach - size[axis] - before[axis])
    largest = node.kind == "MaxPool"
    if any(before) or any(after) or cost(value) or not isinstance(value, Load):
        value = Load(padded(context, value, [0, 0, *before], [0, 0, *after], -inf if largest else 0.0))
    view = value.view
    for axis in range(spatial):
        view = view.window(2 + 2 * axis, kernel[axis], out[2 + axis], stride[axis], dilation[axis])
    places = [2 + 2 * axis for axis in range(spatial)]
    view = view.permute((0, 1, *places, *(place + 1 for place in places)))
    windows = range(-spatial, 0)
    kind = "max" if largest else "sum"
    result = reduce(context, kind, Load(view), windows, keep=False, unrolled=UNROLLED_WINDOW)
    if not largest:
        result = call(
            "mul", result, _reciprocal_counts(context, node, size, out, kernel, stride, dilation, before)
        )
    context.define(node.outputs[0], result)


def _reciprocal_counts(context: Context, node: Node, size: tuple[int, ...], out: tuple[int, ...], kernel: tuple[int, ...],
            stride: tuple[int, ...], dilation: tuple[int, ...], before: list[int]) -> Expression:  # fmt: skip
    """Return 1 over the number of elements in each window."""
    table = next((one.table for one in (*size, *out, *before) if isinstance(one, Size)), None)
    if table is not None:
        rows = [
            _reciprocals(
                node, in_row(row, size), in_row(row, out), kernel, stride, dilation, in_row(row, before)
            )
            for row in range(table.rows)
        ]
        return context.varying_value(Varying(table, tuple(rows)))
    reciprocals = _reciprocals(node, size, out, kernel, stride, dilation, before)
    if (reciprocals == reciprocals.flat[0]).all():
        return Number(float(reciprocals.flat[0]))
    return context.constant_value(reciprocals)


def _reciprocals(node: Node, size: Sequence[int], out: Sequence[int], kernel: tuple[int, ...],
            stride: tuple[int, ...], dilation: tuple[int, ...], before: Sequence[int]) -> np.ndarray:  # fmt: skip
    pads = node.integers("pads", (0,) * (2 * len(kernel)))
    include_padding = bool(node.integer("count_include_pad", 0))
    counts = []
    for axis, n in enumerate(size):
        low, high = -before[axis], n + pads[len(kernel) + axis]
        if not include_padding:
            low, high = 0, n
        start = np.arange(out[2 + axis])[:, None] * stride[axis] - before[axis]
        place = start + np.arange(kernel[axis]) * dilation[axis]
        counts.append(((place >= low) & (place < high)).sum(1))
    total = counts[0]
    for one in counts[1:]:
        total = np.multiply.outer(total, one)
    return np.broadcast_to((1.0 / total).astype(np.float32), (1, 1, *out[2:]))
