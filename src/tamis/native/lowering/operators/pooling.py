"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, prod

import numpy as np

from tamis.native.expression import Expression, Load, Number, call, cost
from tamis.native.graph import Node, Varying
from tamis.native.limits import LARGEST_EXACT_INTEGER
from tamis.native.lowering.context import Context, unsupported
from tamis.native.lowering.operators.movement import padded
from tamis.native.lowering.operators.reduction import reduce
from tamis.native.lowering.operators.selection import pick
from tamis.native.lowering.operators.unfolding import window_pads
from tamis.native.lowering.rule import rule
from tamis.native.program import Choice, Map, Order, Put
from tamis.native.sizes import Size, greatest, in_row
from tamis.native.thresholds import UNROLLED_WINDOW
from tamis.native.view import View


@rule("MaxPool", "AveragePool", "LpPool")
def _pool(context: Context, node: Node) -> None:
    """Reduce windows: small ones within an expression, large ones by a statement."""
    value, out = context.value(node.inputs[0]), context.shape(node.outputs[0])
    kernel = node.integers("kernel_shape")
    spatial = len(kernel)
    stride, dilation = node.integers("strides", (1,) * spatial), node.integers("dilations", (1,) * spatial)
    before, after = window_pads(node, value.shape[2:], kernel, stride, dilation)
    size = value.shape[2:]
    for axis in range(spatial):  # with ceil_mode=1 the last window may reach beyond the end
        reach = (out[2 + axis] - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1
        after[axis] = greatest(after[axis], reach - size[axis] - before[axis])
    largest = node.kind == "MaxPool"
    power = node.integer("p", 2)
    if node.kind == "LpPool":
        value = _powers(value, power)
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
    if node.kind == "AveragePool":
        result = call(
            "mul", result, _reciprocal_counts(context, node, size, out, kernel, stride, dilation, before)
        )
    elif node.kind == "LpPool":
        result = _root(result, power)
    context.define(node.outputs[0], result)
    if context.is_needed([*node.outputs, ""][1]):
        _define_places(context, node, view, size, kernel, stride, dilation, before)


def _powers(value: Expression, power: int) -> Expression:
    """Return powers of absolute values."""
    if power == 2:
        return call("mul", value, value)
    return call("abs", value) if power == 1 else call("pow", call("abs", value), Number(float(power)))


def _root(value: Expression, power: int) -> Expression:
    if power == 2:
        return call("sqrt", value)
    return value if power == 1 else call("pow", value, Number(1.0 / power))


def _define_places(context: Context, node: Node, windows: View, size: tuple[int, ...], kernel: tuple[int, ...],
            stride: tuple[int, ...], dilation: tuple[int, ...], before: list[int]) -> None:  # fmt: skip
    """Define the second output, where in the whole input each maximum is; storage_order=1 counts along columns."""
    shape = context.shape(node.outputs[1])
    if prod(size) * shape[0] * shape[1] > LARGEST_EXACT_INTEGER:
        raise unsupported(node, "its second output has indices that floats cannot represent")
    strides = np.cumprod([1, *size[:-1]] if node.integer("storage_order", 0) else [1, *size[:0:-1]])
    strides = strides if node.integer("storage_order", 0) else strides[::-1]
    first = np.arange(shape[0] * shape[1], dtype=np.int64).reshape(shape[0], shape[1], *[1] * len(size))
    starts, offsets = first * prod(size), np.zeros(kernel, np.int64)
    for axis, step in enumerate(strides):
        tail = [1] * (len(size) - axis - 1)
        starts = starts + (np.arange(shape[2 + axis]) * stride[axis] - before[axis]).reshape(-1, *tail) * step
        offsets = offsets + (np.arange(kernel[axis]) * dilation[axis]).reshape(-1, *tail) * step
    rows = context.write(context.reshape(Load(windows), (*shape, prod(kernel))))
    places = context.scratch((*shape, 1))
    context.add(Order(rows, 1, largest=True, values=None, places=places))
    table = View.whole(context.constant_buffer(offsets.ravel()), (prod(kernel),))
    chosen = pick(context, table, 0, places.at(len(shape), 0), shape, 0, len(shape))
    context.define(node.outputs[1], call("add", Load(chosen), context.constant_value(starts)))


@rule("MaxUnpool")
def _unpool(context: Context, node: Node) -> None:
    """Put values where they were before MaxPool, among zeros."""
    values, places = (context.view(name) for name in node.inputs[:2])
    kernel = node.integers("kernel_shape")
    spatial, shape = len(kernel), context.shape(node.outputs[0])
    stride, pads = node.integers("strides", (1,) * spatial), node.integers("pads", (0,) * (2 * spatial))
    if node.input(2):
        context.known(node, 2)
    size = [
        (n - 1) * stride[axis] - pads[axis] - pads[axis + spatial] + kernel[axis]
        for axis, n in enumerate(values.shape[2:])
    ]
    full = (*values.shape[:2], *size)
    out = context.scratch(full)
    context.add(Map(Number(0.0, full), out))
    base = replace(out, shape=values.shape, strides=(0,) * len(values.shape))
    context.add(Put(values, (Choice(places, prod(full), 1),), base))
    more = [wanted - n for wanted, n in zip(shape, full, strict=True)]
    context.define(node.outputs[0], Load(padded(context, Load(out), [0] * len(full), more)))


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
