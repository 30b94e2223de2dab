"""Operators that sum, average or compare along axes, and softmax, which is made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, prod

from tamis.native.expression import Expression, Load, Number, call, reshaped
from tamis.native.graph import Node
from tamis.native.lowering.context import Context
from tamis.native.lowering.movement import normal_axis
from tamis.native.program import Reduce

Rule = Callable[[Context, Node], None]
UNROLLED = 8  # elements: so few are added in an expression, and nothing is written down between
FUNCTIONS = {"sum": "add", "max": "max", "min": "min", "prod": "mul"}


def reduce(
    context: Context,
    kind: str,
    value: Expression,
    axes: Sequence[int],
    *,
    keep: bool,
    unrolled: int = UNROLLED,
) -> Expression:
    """Reduce axes; few elements at once, many in a statement of their own."""
    rank = len(value.shape)
    gone = sorted({axis % rank for axis in axes})
    kept = [axis for axis in range(rank) if axis not in gone]
    left = tuple(value.shape[axis] for axis in kept)
    if prod(value.shape[axis] for axis in gone) <= unrolled:
        found = context.settled(value, unrolled)
        for axis in reversed(gone):
            pieces = [context.at(found, axis, index) for index in range(found.shape[axis])]
            found = pieces[0]
            for piece in pieces[1:]:
                found = call(FUNCTIONS[kind], found, piece)
    else:
        out = context.scratch(left, kind)
        value_last = context.permute(value, (*kept, *gone))
        joined = reshaped(
            value_last, (*left, prod(value.shape[axis] for axis in gone))
        )  # one long axis where it is one
        context.add(Reduce(kind, value_last if joined is None else joined, out))
        found = Load(out)
    if keep:
        found = context.reshape(found, tuple(1 if a in gone else n for a, n in enumerate(value.shape)))
    return found


def _axes(context: Context, node: Node, rank: int) -> list[int]:
    axes = list(node.integers("axes", ()))
    if not axes and node.input(1):
        axes = [int(axis) for axis in context.known(node, 1).ravel()]
    if not axes and node.integer("noop_with_empty_axes", 0):
        return []
    return sorted({axis % rank for axis in axes}) if axes else list(range(rank))


def _reduction(context: Context, node: Node) -> None:
    value = context.value(node.inputs[0])
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
    plain = {"Max": "max", "Min": "min", "Prod": "prod"}.get(kind, "sum")
    found = reduce(context, plain, value, axes, keep=keep) if axes else value
    if kind == "Mean":
        found = call("mul", found, Number(1.0 / count))
    elif kind == "L2":
        found = call("sqrt", found)
    elif kind == "LogSum":
        found = call("log", found)
    elif kind == "LogSumExp":
        highest = context.reshape(highest, found.shape)
        found = call("add", call("log", found), highest)
    context.define(node.outputs[0], found)


def _global_pool(context: Context, node: Node) -> None:
    value = context.value(node.inputs[0])
    axes = list(range(2, len(value.shape)))
    kind = "max" if node.kind == "GlobalMaxPool" else "sum"
    found = reduce(context, kind, value, axes, keep=True)
    if kind == "sum":
        found = call("mul", found, Number(1.0 / prod(value.shape[2:])))
    context.define(node.outputs[0], found)


def _softmax(context: Context, node: Node) -> None:
    value = context.value(node.inputs[0])
    shape = value.shape
    axis = normal_axis(node, len(shape), 1 if node.opset < 13 else -1)
    axes = [axis]
    if node.opset < 13:  # of old: over all axes from there on
        axes = list(range(axis, len(shape)))
    value = Load(context.write(value))
    highest = reduce(context, "max", value, axes, keep=True)
    shifted = call("sub", value, context.broadcast(highest, shape))
    powers = Load(context.write(call("exp", shifted)))
    total = reduce(context, "sum", powers, axes, keep=True)
    if node.kind == "LogSoftmax":
        found = call("sub", shifted, context.broadcast(call("log", total), shape))
    else:
        found = call("mul", powers, context.broadcast(call("reciprocal", total), shape))
    context.define(node.outputs[0], found)


RULES: dict[str, Rule] = {
    **{
        f"Reduce{kind}": _reduction
        for kind in ("Sum", "Mean", "Max", "Min", "Prod", "SumSquare", "L1", "L2", "LogSum", "LogSumExp")
    },
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
}
