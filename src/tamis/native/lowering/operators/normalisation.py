"""Normalisation by the mean and variance of the input itself, or by its norm."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tamis.native.expression import Expression, Load, Number, call
from tamis.native.graph import Node
from tamis.native.lowering.context import Context
from tamis.native.lowering.operators.movement import normal_axis
from tamis.native.lowering.operators.reduction import reduce
from tamis.native.lowering.rule import rule
from tamis.native.program import Map


def _mean(context: Context, value: Expression, axes: Sequence[int]) -> Expression:
    count = prod(value.shape[axis] for axis in axes)
    return call(
        "mul", reduce(context, "sum", value, axes, keep=True), context.factor(lambda n: 1.0 / n, count)
    )


def _written(context: Context, value: Expression) -> Expression:
    return Load(context.write(value))


def _centred(context: Context, value: Expression, axes: Sequence[int]) -> Expression:
    mean = _mean(context, value, axes)
    return _written(context, call("sub", value, context.broadcast(mean, value.shape)))


def _factor(context: Context, value: Expression, axes: Sequence[int], epsilon: float) -> Expression:
    """Return the reciprocal of the root mean square."""
    square = _mean(context, call("mul", value, value), axes)
    return call("reciprocal", call("sqrt", call("add", square, Number(epsilon))))


def _scaled(context: Context, value: Expression, axes: Sequence[int], epsilon: float) -> Expression:
    """Divide by the root mean square."""
    return call("mul", value, context.broadcast(_factor(context, value, axes, epsilon), value.shape))


@rule("LayerNormalization", "RMSNormalization")
def _layer(context: Context, node: Node) -> None:
    """Normalise the last axes; RMSNormalization does not subtract the mean. Mean and factor may be outputs, too."""
    value = _written(context, context.value(node.inputs[0]))
    first = normal_axis(node, len(value.shape), -1)
    axes = list(range(first, len(value.shape)))
    mean, inverse = [*node.outputs, "", ""][1:3]
    if context.is_needed(mean):
        context.define(mean, _mean(context, value, axes))
    if node.kind == "LayerNormalization":
        value = _centred(context, value, axes)
    factor = _factor(context, value, axes, node.number("epsilon", 1e-5))
    if context.is_needed(inverse):
        factor = _written(context, factor)
        context.define(inverse, factor)
    result = call("mul", value, context.broadcast(factor, value.shape))
    result = call("mul", result, context.broadcast(context.value(node.inputs[1]), value.shape))
    if node.input(2):
        result = call("add", result, context.broadcast(context.value(node.inputs[2]), value.shape))
    context.define(node.outputs[0], result)


@rule("InstanceNormalization")
def _instance(context: Context, node: Node) -> None:
    value = _written(context, context.value(node.inputs[0]))
    axes = list(range(2, len(value.shape)))
    result = _scaled(context, _centred(context, value, axes), axes, node.number("epsilon", 1e-5))
    tail = (1,) * len(axes)
    scale, bias = (
        context.broadcast(
            context.reshape(context.value(node.inputs[place]), (value.shape[1], *tail)), value.shape
        )
        for place in (1, 2)
    )
    context.define(node.outputs[0], call("add", call("mul", result, scale), bias))


@rule("GroupNormalization")
def _group(context: Context, node: Node) -> None:
    """Normalise groups of channels; there is one scale and bias per group up to opset 20, one per channel since."""
    value = context.value(node.inputs[0])
    batch, channels, *rest = value.shape
    groups = node.integer("num_groups")
    split = _written(context, context.reshape(value, (batch, groups, channels // groups, *rest)))
    axes = list(range(2, len(split.shape)))
    result = _scaled(context, _centred(context, split, axes), axes, node.number("epsilon", 1e-5))
    for place, function in ((1, "mul"), (2, "add")):
        factors = context.value(node.inputs[place])
        each = prod(factors.shape) // groups
        factors = context.reshape(factors, (groups, each, *[1] * len(rest)))
        result = call(function, result, context.broadcast(factors, split.shape))
    context.define(node.outputs[0], context.reshape(result, value.shape))


@rule("MeanVarianceNormalization")
def _mean_variance(context: Context, node: Node) -> None:
    value = _written(context, context.value(node.inputs[0]))
    axes = [axis % len(value.shape) for axis in node.integers("axes", (0, 2, 3))]
    context.define(node.outputs[0], _scaled(context, _centred(context, value, axes), axes, 1e-9))


@rule("LpNormalization", accepts={"p": (1, 2)})
def _lp(context: Context, node: Node) -> None:
    """Divide by the L1 or L2 norm; the result is 0 where the norm is."""
    value = context.settled(context.value(node.inputs[0]), 8)
    axis, power = normal_axis(node, len(value.shape), -1), node.integer("p", 2)
    terms = call("abs", value) if power == 1 else call("mul", value, value)
    norm = reduce(context, "sum", terms, [axis], keep=True)
    norm = call("sqrt", norm) if power == 2 else norm
    norm = call("where", call("equal", norm, Number(0.0)), Number(1.0), norm)
    context.define(node.outputs[0], call("div", value, context.broadcast(norm, value.shape)))


@rule("LRN")
def _local_response(context: Context, node: Node) -> None:
    """Divide by a power of the sum of squares of neighbouring channels."""
    value = _written(context, context.value(node.inputs[0]))
    size, channels = node.integer("size"), value.shape[1]
    low, high = (size - 1) // 2, size - 1 - (size - 1) // 2
    square = call("mul", value, value)
    total = context.scratch(value.shape)
    for channel in range(channels):
        start, stop = max(0, channel - low), min(channels, channel + high + 1)
        neighbours = context.slice(square, 1, start, stop - start)
        context.add(Map(reduce(context, "sum", neighbours, [1], keep=True), total.slice(1, channel, 1)))
    alpha, beta, bias = node.number("alpha", 1e-4), node.number("beta", 0.75), node.number("bias", 1.0)
    base = call("add", call("mul", Load(total), Number(alpha / size)), Number(bias))
    context.define(node.outputs[0], call("div", value, call("pow", base, Number(beta))))
