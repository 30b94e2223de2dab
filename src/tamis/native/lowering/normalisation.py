"""Operators that centre and scale what they are given by its own mean and variance, or by its length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from tamis.native.expression import Expression, Load, Number, call
from tamis.native.graph import Node
from tamis.native.lowering.context import Context, unsupported
from tamis.native.lowering.movement import normal_axis
from tamis.native.lowering.reduction import reduce
from tamis.native.program import Map

Rule = Callable[[Context, Node], None]


def _mean(context: Context, value: Expression, axes: Sequence[int]) -> Expression:
    count = prod(value.shape[axis] for axis in axes)
    return call("mul", reduce(context, "sum", value, axes, keep=True), Number(1.0 / count))


def _written(context: Context, value: Expression) -> Expression:
    return Load(context.write(value))


def _centred(context: Context, value: Expression, axes: Sequence[int]) -> Expression:
    mean = _mean(context, value, axes)
    return _written(context, call("sub", value, context.broadcast(mean, value.shape)))


def _scaled(context: Context, value: Expression, axes: Sequence[int], epsilon: float) -> Expression:
    """Divide by the root of the mean square."""
    square = _mean(context, call("mul", value, value), axes)
    factor = call("reciprocal", call("sqrt", call("add", square, Number(epsilon))))
    return call("mul", value, context.broadcast(factor, value.shape))


def _layer(context: Context, node: Node) -> None:
    """LayerNormalization, and RMSNormalization, which leaves the mean in."""
    value = _written(context, context.value(node.inputs[0]))
    first = normal_axis(node, len(value.shape), -1)
    axes = list(range(first, len(value.shape)))
    if node.kind == "LayerNormalization":
        value = _centred(context, value, axes)
    found = _scaled(context, value, axes, node.number("epsilon", 1e-5))
    found = call("mul", found, context.broadcast(context.value(node.inputs[1]), value.shape))
    if node.input(2):
        found = call("add", found, context.broadcast(context.value(node.inputs[2]), value.shape))
    context.define(node.outputs[0], found)


def _instance(context: Context, node: Node) -> None:
    value = _written(context, context.value(node.inputs[0]))
    axes = list(range(2, len(value.shape)))
    found = _scaled(context, _centred(context, value, axes), axes, node.number("epsilon", 1e-5))
    tail = (1,) * len(axes)
    scale, bias = (
        context.broadcast(context.hold(np.reshape(context.known(node, place), (-1, *tail))), value.shape)
        for place in (1, 2)
    )
    context.define(node.outputs[0], call("add", call("mul", found, scale), bias))


def _group(context: Context, node: Node) -> None:
    """Normalise groups of channels; scale and bias are one per group before opset 21, one per channel since."""
    value = context.value(node.inputs[0])
    batch, channels, *rest = value.shape
    groups = node.integer("num_groups")
    split = _written(context, context.reshape(value, (batch, groups, channels // groups, *rest)))
    axes = list(range(2, len(split.shape)))
    found = _scaled(context, _centred(context, split, axes), axes, node.number("epsilon", 1e-5))
    for place, function in ((1, "mul"), (2, "add")):
        known = context.known(node, place)
        known = known.reshape(groups, -1, *[1] * len(rest))
        found = call(function, found, context.broadcast(context.hold(known), split.shape))
    context.define(node.outputs[0], context.reshape(found, value.shape))


def _mean_variance(context: Context, node: Node) -> None:
    value = _written(context, context.value(node.inputs[0]))
    axes = [axis % len(value.shape) for axis in node.integers("axes", (0, 2, 3))]
    context.define(node.outputs[0], _scaled(context, _centred(context, value, axes), axes, 1e-9))


def _length(context: Context, node: Node) -> None:
    """Divide by the sum of magnitudes, or by the root of that of squares; a length of zero leaves zero."""
    value = context.settled(context.value(node.inputs[0]), 8)
    axis, power = normal_axis(node, len(value.shape), -1), node.integer("p", 2)
    if power not in (1, 2):
        raise unsupported(node, f"p={power} is not done, only 1 and 2")
    terms = call("abs", value) if power == 1 else call("mul", value, value)
    length = reduce(context, "sum", terms, [axis], keep=True)
    length = call("sqrt", length) if power == 2 else length
    length = call("where", call("equal", length, Number(0.0)), Number(1.0), length)
    context.define(node.outputs[0], call("div", value, context.broadcast(length, value.shape)))


def _local_response(context: Context, node: Node) -> None:
    """Divide by a power of the squares of the channels around."""
    value = _written(context, context.value(node.inputs[0]))
    size, channels = node.integer("size"), value.shape[1]
    low, high = (size - 1) // 2, size - 1 - (size - 1) // 2
    square = call("mul", value, value)
    total = context.scratch(value.shape)
    for channel in range(channels):
        start, stop = max(0, channel - low), min(channels, channel + high + 1)
        part = context.slice(square, 1, start, stop - start)
        found = reduce(context, "sum", part, [1], keep=True)
        context.add(Map(found, total.slice(1, channel, 1)))
    alpha, beta, bias = node.number("alpha", 1e-4), node.number("beta", 0.75), node.number("bias", 1.0)
    base = call("add", call("mul", Load(total), Number(alpha / size)), Number(bias))
    context.define(node.outputs[0], call("div", value, call("pow", base, Number(beta))))


RULES: dict[str, Rule] = {
    "LayerNormalization": _layer, "RMSNormalization": _layer, "InstanceNormalization": _instance, "GroupNormalization": _group,
    "MeanVarianceNormalization": _mean_variance, "LpNormalization": _length, "LRN": _local_response,
}  # fmt: skip
