"""Quantisation: values are rounded where the model rounds them, and computed in float32 between, which holds such integers exactly."""

from __future__ import annotations

from math import prod

import numpy as np

from tamis.native.expression import Expression, Load, Number, broadcast, call
from tamis.native.graph import Node
from tamis.native.limits import LARGEST_EXACT_INTEGER
from tamis.native.lowering.context import Context, unsupported
from tamis.native.lowering.operators.contraction import convolution, dense
from tamis.native.lowering.operators.movement import normal_axis
from tamis.native.lowering.operators.unfolding import add_to_channels, convolve, products
from tamis.native.lowering.rule import rule
from tamis.native.sizes import largest

WIDEST_QUANTISED = 2  # bytes


def _scale_or_zero(context: Context, node: Node, place: int, shape: tuple[int, ...]) -> Expression:
    """Return a scale or a zero point: a number, or one for each index of an axis, or for each block of it."""
    values = context.constant(node.inputs[place])
    size = prod(context.shape(node.inputs[place]))
    if values is not None and values.size == 1:
        return Number(float(np.float32(values.ravel()[0])))
    value = (
        context.value(node.inputs[place])
        if values is None
        else context.constant_value(values.astype(np.float32))
    )
    if size == 1:
        return context.broadcast(context.reshape(value, ()), shape)
    axis = normal_axis(node, len(shape), 1)
    block = node.integer("block_size", 0)
    if block:
        repeated = context.insert(value, axis + 1, block)
        joined = (*value.shape[:axis], value.shape[axis] * block, *value.shape[axis + 1 :])
        return context.slice(context.reshape(repeated, joined), axis, 0, shape[axis])
    return context.broadcast(context.reshape(value, (size, *[1] * (len(shape) - axis - 1))), shape)


def _saturated(context: Context, node: Node, value: Expression) -> Expression:
    """Limit a value to the integers of the output's type."""
    dtype = context.dtype(node.outputs[0])
    if dtype.kind not in "iu" or dtype.itemsize > WIDEST_QUANTISED:
        raise unsupported(node, f"its output is {dtype}, and only integers of 8 and 16 bits are supported")
    bounds = np.iinfo(dtype)
    return call("max", Number(float(bounds.min)), call("min", Number(float(bounds.max)), value))


@rule("QuantizeLinear")
def _quantise(context: Context, node: Node) -> None:
    """Divide by the scale, round to even, add the zero point, and saturate."""
    value = context.value(node.inputs[0])
    rounded = call("round", call("div", value, _scale_or_zero(context, node, 1, value.shape)))
    if node.input(2):
        rounded = call("add", rounded, _scale_or_zero(context, node, 2, value.shape))
    saturated = _saturated(context, node, rounded)
    context.define(node.outputs[0], context.broadcast(saturated, context.shape(node.outputs[0])))


@rule("DequantizeLinear")
def _dequantise(context: Context, node: Node) -> None:
    """Subtract the zero point, and multiply by the scale."""
    value = context.value(node.inputs[0])
    shape = value.shape
    if node.input(2):
        value = call("sub", value, _scale_or_zero(context, node, 2, shape))
    value = call("mul", value, _scale_or_zero(context, node, 1, shape))
    context.define(node.outputs[0], context.broadcast(value, shape))


def _aligned(context: Context, node: Node, place: int, shape: tuple[int, ...], axis: int) -> Expression:
    """Return an input that is a number, has one number for each index of an axis, or broadcasts to `shape`."""
    value = context.value(node.inputs[place])
    size = prod(value.shape)
    if size == 1:
        value = context.reshape(value, ())
    elif len(value.shape) == 1:
        value = context.reshape(value, (size, *[1] * (len(shape) - axis % len(shape) - 1)))
    return context.broadcast(value, shape)


def _shifted(context: Context, node: Node, place: int, zero: int, axis: int) -> Expression:
    """Return an input minus its zero point, which may have one number for each index of an axis."""
    value = context.value(node.inputs[place])
    if not node.input(zero):
        return value
    return call("sub", value, _aligned(context, node, zero, value.shape, axis))


def _shifted_weights(context: Context, node: Node, place: int, zero: int, axis: int) -> np.ndarray | None:
    """Return constant weights minus their zero point, None if they depend on the event."""
    weights = context.constant(node.inputs[place])
    if weights is None or not node.input(zero):
        return None if weights is None else weights.astype(np.float32)
    zeros = context.constant(node.inputs[zero])
    if zeros is None:
        return None
    if zeros.size == 1:
        zeros = zeros.reshape(())
    elif zeros.ndim == 1:
        zeros = zeros.reshape(-1, *[1] * (weights.ndim - axis % weights.ndim - 1))
    return (weights.astype(np.int64) - zeros).astype(np.float32)


def _check_exact(node: Node, weights: np.ndarray | None, terms: int, axes: tuple[int, ...]) -> None:
    """Raise ModelError if a sum of products of 8-bit integers may be too large to be exact."""
    factor = 255.0 * terms if weights is None else float(np.abs(weights).sum(axes).max(initial=0.0))
    if 255.0 * factor > LARGEST_EXACT_INTEGER:
        raise unsupported(
            node,
            f"its sums of {terms} products may exceed {LARGEST_EXACT_INTEGER}, the largest exact integer",
        )


def _product(
    context: Context, node: Node, second: int, zeros: tuple[int, int], shape: tuple[int, ...]
) -> Expression:
    """Return the product of two matrices of integers minus their zero points."""
    left = _shifted(context, node, 0, zeros[0], -2)
    weights = _shifted_weights(context, node, second, zeros[1], -1)
    _check_exact(node, weights, largest(left.shape[-1]), (-2,))
    if weights is not None and weights.ndim == 2 and len(left.shape) > 1:
        out = context.scratch(shape)
        dense(context, context.write(left), weights, None, out)
        return Load(out)
    right = _shifted(context, node, second, zeros[1], -1)
    left = left if len(left.shape) > 1 else context.reshape(left, (1, *left.shape))
    right = right if len(right.shape) > 1 else context.reshape(right, (*right.shape, 1))
    lead = broadcast([left.shape[:-2], right.shape[:-2]])
    out = context.scratch((*lead, left.shape[-2], right.shape[-1]))
    one, other = (context.write(value).expand((*lead, *value.shape[-2:])) for value in (left, right))
    products(context, one, other, out)
    return context.reshape(Load(out), shape)


@rule("MatMulInteger")
def _matmul_of_integers(context: Context, node: Node) -> None:
    name = node.outputs[0]
    context.define(name, _product(context, node, 1, (2, 3), context.shape(name)))


@rule("QLinearMatMul")
def _quantised_matmul(context: Context, node: Node) -> None:
    """Multiply matrices of integers, and quantise the result; inputs: a, its scale and zero, b, its scale and zero, those of y."""
    shape = context.shape(node.outputs[0])
    total = _product(context, node, 3, (2, 5), shape)
    scale = call("mul", _aligned(context, node, 1, shape, -2), _aligned(context, node, 4, shape, -1))
    context.define(node.outputs[0], _requantised(context, node, total, scale))


def _requantised(context: Context, node: Node, total: Expression, scale: Expression) -> Expression:
    """Return exact sums in the units of the output, whose scale and zero point are inputs 6 and 7."""
    result_scale, zero = (_aligned(context, node, place, total.shape, 1) for place in (6, 7))
    rounded = call("round", call("mul", total, call("div", scale, result_scale)))
    return _saturated(context, node, call("add", rounded, zero))


def _convolved(context: Context, node: Node, second: int, zeros: tuple[int, int]) -> Expression:
    """Return the convolution of integers minus their zero points."""
    value = _shifted(context, node, 0, zeros[0], 1)
    weights = _shifted_weights(context, node, second, zeros[1], 0)
    shape = context.shape(node.inputs[second])
    _check_exact(node, weights, largest(prod(shape[1:])), tuple(range(1, len(shape))))
    if weights is None:
        return convolve(context, node, value, _shifted(context, node, second, zeros[1], 0), None)
    return Load(convolution(context, node, value, weights, None))


@rule("ConvInteger")
def _convolution_of_integers(context: Context, node: Node) -> None:
    context.define(node.outputs[0], _convolved(context, node, 1, (2, 3)))


@rule("QLinearConv")
def _quantised_convolution(context: Context, node: Node) -> None:
    """Convolve integers, and quantise the result; the bias is in units of both scales."""
    total = _convolved(context, node, 3, (2, 5))
    if node.input(8):
        total = add_to_channels(context, total, context.value(node.inputs[8]))
    shape = total.shape
    scale = call("mul", _aligned(context, node, 1, shape, 1), _aligned(context, node, 4, shape, 1))
    context.define(node.outputs[0], _requantised(context, node, total, scale))
