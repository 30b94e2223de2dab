"""Windows as columns of matrices: convolutions whose weights depend on the event, and sums of overlapping windows."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from tamis.native.expression import Expression, Load, Number, call
from tamis.native.graph import Node
from tamis.native.lowering.context import Context
from tamis.native.lowering.operators.movement import padded
from tamis.native.lowering.rule import rule
from tamis.native.program import Map, Product
from tamis.native.sizes import greatest
from tamis.native.view import View


def depends_on_event(context: Context, node: Node, *places: int) -> bool:
    """Return whether any of these inputs is not a constant."""
    names = (node.input(place) for place in places)
    return any(name and context.constant(name) is None for name in names)


def products(context: Context, left: View, right: View, out: View) -> None:
    """Multiply matrices; all leading axes but the last become separate statements."""
    if len(out.shape) == 2:
        left, right, out = left.insert(0), right.insert(0), out.insert(0)
    if len(out.shape) == 3:
        context.add(Product(left, right, out))
        return
    for index in range(out.shape[0]):
        products(context, left.at(0, index), right.at(0, index), out.at(0, index))


def window_pads(node: Node, size: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[list[int], list[int]]:  # fmt: skip
    """Return the padding before and after each spatial axis."""
    automatic = node.text("auto_pad", "NOTSET")
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        before, after = [], []
        for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
            total = greatest(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
            less, more = total // 2, total - total // 2
            before.append(less if automatic == "SAME_UPPER" else more)
            after.append(more if automatic == "SAME_UPPER" else less)
        return before, after
    rank = len(kernel)
    pads = node.integers("pads", (0,) * (2 * rank)) if automatic == "NOTSET" else (0,) * (2 * rank)
    return list(pads[:rank]), list(pads[rank:])


def transposed_pads(node: Node, size: tuple[int, ...], out: tuple[int, ...], kernel: tuple[int, ...],
                     stride: tuple[int, ...], dilation: tuple[int, ...]) -> list[int]:  # fmt: skip
    """Return how much is cut off before each spatial axis of a transposed convolution."""
    automatic = node.text("auto_pad", "NOTSET")
    rank = len(kernel)
    if automatic == "NOTSET" and not node.has("output_shape"):
        return list(node.integers("pads", (0,) * (2 * rank))[:rank])
    more = node.integers("output_padding", (0,) * rank)
    begin = []
    for n, o, k, s, d, extra in zip(size, out, kernel, stride, dilation, more, strict=True):
        total = max(0, s * (n - 1) + extra + (k - 1) * d + 1 - o)
        begin.append(
            0 if automatic == "VALID" else total // 2 if automatic == "SAME_UPPER" else total - total // 2
        )
    return begin


def convolve(
    context: Context, node: Node, value: Expression, weights: Expression, bias: Expression | None
) -> Expression:
    """Return a convolution whose weights depend on the event: its windows become columns of a matrix."""
    shape = context.shape(node.outputs[0])
    kernel, spatial, groups = weights.shape[2:], len(weights.shape) - 2, node.integer("group", 1)
    stride, dilation = node.integers("strides", (1,) * spatial), node.integers("dilations", (1,) * spatial)
    before, after = window_pads(node, value.shape[2:], kernel, stride, dilation)
    view = padded(context, value, [0, 0, *before], [0, 0, *after])
    for axis in range(spatial):
        view = view.window(2 + 2 * axis, kernel[axis], shape[2 + axis], stride[axis], dilation[axis])
    batch, channels = value.shape[:2]
    order = (0, 1, *(3 + 2 * axis for axis in range(spatial)), *(2 + 2 * axis for axis in range(spatial)))
    terms = channels // groups * prod(kernel)
    columns = context.reshape(Load(view.permute(order)), (batch, groups, terms, prod(shape[2:])))
    rows = context.reshape(weights, (1, groups, weights.shape[0] // groups, terms))
    out = context.scratch((batch, groups, weights.shape[0] // groups, prod(shape[2:])), "conv")
    rows = context.broadcast(rows, (batch, *rows.shape[1:]))
    products(context, context.write(rows), context.write(columns), out)
    result = context.reshape(Load(out), shape)
    return result if bias is None else add_to_channels(context, result, bias)


def add_to_channels(context: Context, value: Expression, bias: Expression) -> Expression:
    """Add a number to each channel."""
    bias = context.reshape(bias, (value.shape[1], *[1] * (len(value.shape) - 2)))
    return call("add", value, context.broadcast(bias, value.shape))


def convolve_transposed(context: Context, node: Node) -> None:
    """Write a transposed convolution whose weights depend on the event: a matrix of columns, which are added where they overlap."""
    value, shape = context.value(node.inputs[0]), context.shape(node.outputs[0])
    weights = context.value(node.inputs[1])  # (inputs, outputs / groups, *kernel)
    kernel, spatial, groups = weights.shape[2:], len(weights.shape) - 2, node.integer("group", 1)
    stride, dilation = node.integers("strides", (1,) * spatial), node.integers("dilations", (1,) * spatial)
    begin = transposed_pads(node, value.shape[2:], shape[2:], kernel, stride, dilation)
    batch, inputs = value.shape[0], weights.shape[0] // groups
    outputs, positions = weights.shape[1] * prod(kernel), prod(value.shape[2:])
    rows = context.permute(context.reshape(weights, (groups, inputs, outputs)), (0, 2, 1))
    rows = context.broadcast(context.insert(rows, 0, 1), (batch, groups, outputs, inputs))
    columns = context.scratch((batch, groups, outputs, positions))
    right = context.reshape(value, (batch, groups, inputs, positions))
    products(context, context.write(rows), context.write(right), columns)
    split = (batch, groups * weights.shape[1], *kernel, *value.shape[2:])
    summed = add_windows(context, context.reshape(Load(columns), split), shape, begin, stride, dilation)
    if node.input(2):
        summed = add_to_channels(context, summed, context.value(node.inputs[2]))
    context.define(node.outputs[0], summed)


def add_windows(
    context: Context,
    columns: Expression,
    shape: Sequence[int],
    begin: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> Expression:
    """Add windows (batch, channels, *kernel, *positions) where they overlap in a tensor of `shape`, of which `begin` is cut off."""
    spatial = len(shape) - 2
    kernel, counts = columns.shape[2 : 2 + spatial], columns.shape[2 + spatial :]
    reach = [
        (n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(counts, stride, kernel, dilation, strict=True)
    ]
    room = [greatest(r, b + n) for r, b, n in zip(reach, begin, shape[2:], strict=True)]
    full = context.scratch((*shape[:2], *room), "windows")
    context.add(Map(Number(0.0, full.shape), full))
    view = Load(context.write(columns))
    for tap in np.ndindex(*kernel):
        part: Expression = view
        target = full
        for axis, (k, n, s, d) in enumerate(zip(tap, counts, stride, dilation, strict=True)):
            part = context.at(part, 2, k)
            target = target.slice(2 + axis, k * d, n, s)
        context.add(Map(call("add", Load(target), part), target))
    result: Expression = Load(full)
    for axis in range(spatial):
        result = context.slice(result, 2 + axis, begin[axis], shape[2 + axis])
    return result


@rule("Col2Im")
def _columns_to_image(context: Context, node: Node) -> None:
    """Add the columns of a matrix, windows of an image, where they overlap."""
    size, kernel = ([int(n) for n in context.known(node, place)] for place in (1, 2))
    spatial = len(kernel)
    stride, dilation = node.integers("strides", (1,) * spatial), node.integers("dilations", (1,) * spatial)
    pads = node.integers("pads", (0,) * (2 * spatial))
    counts = [
        (n + pads[axis] + pads[spatial + axis] - dilation[axis] * (kernel[axis] - 1) - 1) // stride[axis] + 1
        for axis, n in enumerate(size)
    ]
    shape = context.shape(node.outputs[0])
    columns = context.reshape(context.value(node.inputs[0]), (*shape[:2], *kernel, *counts))
    result = add_windows(context, columns, shape, pads[:spatial], stride, dilation)
    context.define(node.outputs[0], result)
