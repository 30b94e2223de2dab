"""Quantisation: values are rounded where the model rounds them, and computed in float32 between, which holds such integers exactly."""

from __future__ import annotations

import numpy as np

from tamis.native.expression import Expression, Number, call
from tamis.native.graph import Node
from tamis.native.lowering.context import Context, unsupported
from tamis.native.lowering.operators.movement import normal_axis
from tamis.native.lowering.rule import rule

WIDEST_QUANTISED = 2  # bytes


def _scale_or_zero(context: Context, node: Node, place: int, shape: tuple[int, ...]) -> Expression:
    """Return a scale or a zero point: a number, or one for each index of an axis."""
    values = context.known(node, place).astype(np.float32)
    if values.size == 1:
        return Number(float(values.ravel()[0]))
    axis = normal_axis(node, len(shape), 1)
    return context.broadcast(
        context.constant_value(values.reshape(-1, *[1] * (len(shape) - axis - 1))), shape
    )


@rule("QuantizeLinear", accepts={"block_size": (0,)})
def _quantise(context: Context, node: Node) -> None:
    """Divide by the scale, round to even, add the zero point, and saturate."""
    name = node.outputs[0]
    dtype = context.dtype(name)
    if dtype.kind not in "iu" or dtype.itemsize > WIDEST_QUANTISED:
        raise unsupported(node, f"its output is {dtype}, and only integers of 8 and 16 bits are supported")
    value = context.value(node.inputs[0])
    rounded = call("round", call("div", value, _scale_or_zero(context, node, 1, value.shape)))
    if node.input(2):
        rounded = call("add", rounded, _scale_or_zero(context, node, 2, value.shape))
    bounds = np.iinfo(dtype)
    saturated = call("max", Number(float(bounds.min)), call("min", Number(float(bounds.max)), rounded))
    context.define(name, context.broadcast(saturated, context.shape(name)))


@rule("DequantizeLinear", accepts={"block_size": (0,)})
def _dequantise(context: Context, node: Node) -> None:
    """Subtract the zero point, and multiply by the scale."""
    value = context.value(node.inputs[0])
    shape = value.shape
    if node.input(2):
        value = call("sub", value, _scale_or_zero(context, node, 2, shape))
    value = call("mul", value, _scale_or_zero(context, node, 1, shape))
    context.define(node.outputs[0], context.broadcast(value, shape))
