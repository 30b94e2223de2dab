"""Numbers of few bits: what a model rounds is rounded, and computed in float32 between, where such whole numbers are exact."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tamis.native.expression import Expression, Number, call
from tamis.native.graph import Node
from tamis.native.lowering.context import Context, unsupported
from tamis.native.lowering.movement import normal_axis

Rule = Callable[[Context, Node], None]
WIDEST = 2  # bytes of a quantised number


def _level(context: Context, node: Node, place: int, shape: tuple[int, ...]) -> Expression:
    """Return a scale or a zero point: one number, or one for each index of an axis."""
    values = context.known(node, place).astype(np.float32)
    if node.integer("block_size", 0):
        raise unsupported(node, f"block_size={node.integer('block_size')} is not done, only whole axes")
    if values.size == 1:
        return Number(float(values.ravel()[0]))
    axis = normal_axis(node, len(shape), 1)
    return context.broadcast(context.hold(values.reshape(-1, *[1] * (len(shape) - axis - 1))), shape)


def _quantise(context: Context, node: Node) -> None:
    """Divide by the scale, round to even, shift, and stay within the type."""
    name = node.outputs[0]
    kind = context.dtype(name)
    if kind.kind not in "iu" or kind.itemsize > WIDEST:
        raise unsupported(node, f"its result is {kind}, and only whole numbers of 8 and 16 bits are done")
    value = context.value(node.inputs[0])
    found = call("round", call("div", value, _level(context, node, 1, value.shape)))
    if node.input(2):
        found = call("add", found, _level(context, node, 2, value.shape))
    bounds = np.iinfo(kind)
    found = call("max", Number(float(bounds.min)), call("min", Number(float(bounds.max)), found))
    context.define(name, context.broadcast(found, context.shape(name)))


def _dequantise(context: Context, node: Node) -> None:
    """Shift back, and multiply by the scale."""
    found = context.value(node.inputs[0])
    shape = found.shape
    if node.input(2):
        found = call("sub", found, _level(context, node, 2, shape))
    found = call("mul", found, _level(context, node, 1, shape))
    context.define(node.outputs[0], context.broadcast(found, shape))


RULES: dict[str, Rule] = {"QuantizeLinear": _quantise, "DequantizeLinear": _dequantise}
