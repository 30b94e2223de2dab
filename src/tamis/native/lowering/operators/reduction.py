"""Reductions along axes, and softmax."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite, nan, prod

import numpy as np

from tamis.native.expression import Expression, Load, Number, call, reshaped
from tamis.native.graph import Node
from tamis.native.lowering.context import Context, unsupported
from tamis.native.lowering.operators.movement import normal_axis
from tamis.native.lowering.rule import rule
from tamis.native.program import Reduce
from tamis.native.sizes import is_fixed
from tamis.native.thresholds import UNROLLED_REDUCTION

FUNCTION_OF_REDUCTION = {"sum": "add", "max": "max", "min": "min", "prod": "mul"}
REDUCE_KINDS = ("Sum", "Mean", "Max", "Min", "Prod", "SumSquare", "L1", "L2", "LogSum", "LogSumExp")
# of no elements; of other reductions it is 0
OF_NOTHING = {
    "ReduceMean": nan, "ReduceMax": -inf, "ReduceMin": inf, "ReduceProd": 1.0, "ReduceLogSum": -inf, "ReduceLogSumExp": -inf,
}  # fmt: skip


def reduce(
    context: Context,
    kind: str,
    value: Expression,
    axes: Sequence[int],
    *,
    keep: bool,
    unrolled: int = UNROLLED_REDUCTION,
) -> Expression:
    """Reduce axes: up to `unrolled` elements within an expression, more by a statement."""
    rank = len(value.shape)
    reduced = sorted({axis % rank for axis in axes})
    kept = [axis for axis in range(rank) if axis not in reduced]
    shape = tuple(value.shape[axis] for axis in kept)
    count = prod(value.shape[axis] for axis in reduced)
    if is_fixed(count) and count <= unrolled:
        result = context.settled(value, unrolled)
        for axis in reversed(reduced):
            pieces = [context.at(result, axis, index) for index in range(result.shape[axis])]
            result = pieces[0]
            for piece in pieces[1:]:
                result = call(FUNCTION_OF_REDUCTION[kind], result, piece)
    else:
        out = context.scratch(shape, kind)
        permuted = context.permute(value, (*kept, *reduced))
        joined = reshaped(permuted, (*shape, count))  # one long axis, if strides allow it
        context.add(Reduce(kind, permuted if joined is None else joined, out))
        result = Load(out)
    if keep:
        result = context.reshape(result, tuple(1 if a in reduced else n for a, n in enumerate(value.shape)))
    return result


@rule(*(f"Reduce{kind}" for kind in REDUCE_KINDS), takes_empty=True)
def _reduction(context: Context, node: Node) -> None:
    value = context.value(node.inputs[0])
    if 0 in value.shape:
        _reduce_nothing(context, node)
        return
    axes = _axes(context, node, len(value.shape))
    keep = bool(node.integer("keepdims", 1))
    kind = node.kind.removeprefix("Reduce")
    if kind in ("SumSquare", "L2", "LogSumExp"):
        value = context.settled(value, 8)
    if kind in ("SumSquare", "L2"):
        value = call("mul", value, value)
    elif kind == "L1":
        value = call("abs", value)
    elif kind == "LogSumExp":
        highest = reduce(context, "max", value, axes, keep=True)
        highest = call("where", call("less", call("abs", highest), Number(inf)), highest, Number(0.0))
        highest = Load(context.write(highest))
        value = call("exp", call("sub", value, context.broadcast(highest, value.shape)))
    count = prod(value.shape[axis] for axis in axes)
    combined = {"Max": "max", "Min": "min", "Prod": "prod"}.get(kind, "sum")
    result = reduce(context, combined, value, axes, keep=keep) if axes else value
    if kind == "Mean":
        result = call("mul", result, context.factor(lambda n: 1.0 / n, count))
    elif kind == "L2":
        result = call("sqrt", result)
    elif kind == "LogSum":
        result = call("log", result)
    elif kind == "LogSumExp":
        highest = context.reshape(highest, result.shape)
        result = call("add", call("log", result), highest)
    context.define(node.outputs[0], result)


def _axes(context: Context, node: Node, rank: int) -> list[int]:
    """Return the axes that are reduced: an attribute up to opset 12 or 17, an input since, by default all of them."""
    axes = list(node.integers("axes", ()))
    if not axes and node.input(1):
        axes = [int(axis) for axis in context.known(node, 1).ravel()]
    if axes:
        return sorted({axis % rank for axis in axes})
    return [] if node.integer("noop_with_empty_axes", 0) else list(range(rank))


def _reduce_nothing(context: Context, node: Node) -> None:
    """Define the reduction of no elements."""
    context.optional(node, 1)
    name = node.outputs[0]
    dtype, value = context.dtype(name), OF_NOTHING.get(node.kind, 0.0)
    if dtype == np.bool_:
        value = float(value > 0)
    elif dtype.kind in "iu" and not isfinite(value):
        raise unsupported(node, "it has no elements, and the smallest or largest integer is not exact")
    context.define(name, Number(value, context.shape(name)))


@rule("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(context: Context, node: Node) -> None:
    value = context.value(node.inputs[0])
    axes = list(range(2, len(value.shape)))
    kind = "max" if node.kind == "GlobalMaxPool" else "sum"
    result = reduce(context, kind, value, axes, keep=True)
    if kind == "sum":
        result = call("mul", result, context.factor(lambda n: 1.0 / n, prod(value.shape[2:])))
    context.define(node.outputs[0], result)


@rule("Softmax", "LogSoftmax")
def _softmax(context: Context, node: Node) -> None:
    value = context.value(node.inputs[0])
    shape = value.shape
    axis = normal_axis(node, len(shape), 1 if node.opset < 13 else -1)
    axes = [axis]
    if node.opset < 13:  # up to opset 12: over this axis and all after it
        axes = list(range(axis, len(shape)))
    value = Load(context.write(value))
    highest = reduce(context, "max", value, axes, keep=True)
    shifted = call("sub", value, context.broadcast(highest, shape))
    exponentials = Load(context.write(call("exp", shifted)))
    total = reduce(context, "sum", exponentials, axes, keep=True)
    if node.kind == "LogSoftmax":
        result = call("sub", shifted, context.broadcast(call("log", total), shape))
    else:
        result = call("mul", exponentials, context.broadcast(call("reciprocal", total), shape))
    context.define(node.outputs[0], result)
