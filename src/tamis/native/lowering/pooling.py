"""Operators that reduce windows."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import numpy as np

from tamis.native.expression import Expression, Load, Number, call, cost
from tamis.native.graph import Node
from tamis.native.lowering.context import Context, unsupported
from tamis.native.lowering.contraction import window_pads
from tamis.native.lowering.movement import padded
from tamis.native.lowering.reduction import reduce

Rule = Callable[[Context, Node], None]
UNROLLED = 16  # elements of a window


def _pool(context: Context, node: Node) -> None:
    """Reduce windows: small ones within an expression, large ones in a statement."""
    value, out = context.value(node.inputs[0]), context.shape(node.outputs[0])
    if any(context.is_needed(name) for name in node.outputs[1:]):
        raise unsupported(node, "its second result, the places of the maxima, is not done")
    kernel = node.integers("kernel_shape")
    spatial = len(kernel)
    stride, dilation = node.integers("strides", (1,) * spatial), node.integers("dilations", (1,) * spatial)
    before, after = window_pads(node, value.shape[2:], kernel, stride, dilation)
    size = value.shape[2:]
    for axis in range(spatial):  # rounding up lets the last window begin before the end and reach beyond it
        reach = (out[2 + axis] - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1
        after[axis] = max(after[axis], reach - size[axis] - before[axis])
    largest = node.kind == "MaxPool"
    if any(before) or any(after) or cost(value) or not isinstance(value, Load):
        value = Load(padded(context, value, [0, 0, *before], [0, 0, *after], -inf if largest else 0.0))
    view = value.view
    for axis in range(spatial):
        view = view.window(2 + 2 * axis, kernel[axis], out[2 + axis], stride[axis], dilation[axis])
    places = [2 + 2 * axis for axis in range(spatial)]
    view = view.permute((0, 1, *places, *(place + 1 for place in places)))
    windows = range(-spatial, 0)
    found = reduce(context, "max" if largest else "sum", Load(view), windows, keep=False, unrolled=UNROLLED)
    if not largest:
        found = call("mul", found, _shares(context, node, size, out, kernel, stride, dilation, before))
    context.define(node.outputs[0], found)


def _shares(context: Context, node: Node, size: tuple[int, ...], out: tuple[int, ...], kernel: tuple[int, ...],
            stride: tuple[int, ...], dilation: tuple[int, ...], before: list[int]) -> Expression:  # fmt: skip
    """Return one over the number of elements that each mean is over."""
    pads = node.integers("pads", (0,) * (2 * len(kernel)))
    whole = bool(node.integer("count_include_pad", 0))
    counts = []
    for axis, n in enumerate(size):
        low, high = -before[axis], n + pads[len(kernel) + axis]
        if not whole:
            low, high = 0, n
        start = np.arange(out[2 + axis])[:, None] * stride[axis] - before[axis]
        place = start + np.arange(kernel[axis]) * dilation[axis]
        counts.append(((place >= low) & (place < high)).sum(1))
    total = counts[0]
    for one in counts[1:]:
        total = np.multiply.outer(total, one)
    shares = (1.0 / total).astype(np.float32)
    if (shares == shares.flat[0]).all():
        return Number(float(shares.flat[0]))
    return context.hold(np.broadcast_to(shares, (1, 1, *out[2:])))


RULES: dict[str, Rule] = {"MaxPool": _pool, "AveragePool": _pool}
