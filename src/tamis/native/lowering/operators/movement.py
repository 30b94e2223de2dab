"""Operators that only move elements: views where possible, copies otherwise."""

from __future__ import annotations

from collections.abc import Sequence

from tamis.native.expression import Expression, Load, Number, cost, expand
from tamis.native.graph import Node
from tamis.native.lowering.context import Context, unsupported
from tamis.native.lowering.rule import rule
from tamis.native.program import Map
from tamis.native.sizes import integer, row_by_row
from tamis.native.view import View


def normal_axis(node: Node, rank: int, default: int = 0) -> int:
    """Return the attribute `axis`, counted from the front."""
    axis = node.integer("axis", default)
    if not -rank <= axis < max(1, rank):
        raise unsupported(node, f"axis={axis} is outside of a tensor of {rank} axes; fix the model")
    return axis % max(1, rank)


@rule("Identity")
def _identity(context: Context, node: Node) -> None:
    context.define(node.outputs[0], context.value(node.inputs[0]))


@rule("Dropout")
def _dropout(context: Context, node: Node) -> None:
    """Return the input, and a mask of ones."""
    drops = not node.input(1) or bool(context.known(node, 1).any())
    if node.input(2) and context.known(node, 2).any() and drops:
        raise unsupported(node, "it is in training mode; export the model after model.eval()")
    context.define(node.outputs[0], context.value(node.inputs[0]))
    if context.is_needed([*node.outputs, ""][1]):
        context.define(node.outputs[1], Number(1.0, context.shape(node.outputs[1])))


@rule("Range", "ConstantOfShape", "MelWeightMatrix")
def _generated(context: Context, node: Node) -> None:
    """Raise, since these are constants if their inputs are."""
    for place in range(len(node.inputs)):
        context.known(node, place)
    raise unsupported(node, "its inputs depend on the event, and have to be constant")


@rule("If", "Loop", "Scan")
def _control_flow(context: Context, node: Node) -> None:
    """Raise: branches whose condition is constant are taken before, and loops whose number of steps is are unrolled."""
    for place in {"If": (0,), "Loop": (0, 1)}.get(node.kind, ()):
        context.optional(node, place)
    raise unsupported(
        node, "the number of steps of its nested graph is not constant; export the model without control flow"
    )


@rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(context: Context, node: Node) -> None:
    if node.kind != "Flatten":
        context.optional(node, 1)  # the new shape has to be constant
    shape = context.shape(node.outputs[0])
    context.define(node.outputs[0], context.reshape(context.value(node.inputs[0]), shape))


@rule("Transpose")
def _transpose(context: Context, node: Node) -> None:
    value = context.value(node.inputs[0])
    order = node.integers("perm", range(len(value.shape))[::-1])
    context.define(node.outputs[0], context.permute(value, order))


@rule("Expand")
def _expand(context: Context, node: Node) -> None:
    context.known(node, 1)
    value, shape = context.value(node.inputs[0]), context.shape(node.outputs[0])
    if cost(value) and value.shape != shape:
        value = Load(context.view(node.inputs[0]))
    context.define(node.outputs[0], context.broadcast(value, shape))


@rule("Tile")
def _tile(context: Context, node: Node) -> None:
    """Repeat: an axis of size n becomes axes of sizes (times, n), which are joined."""
    value = context.value(node.inputs[0])
    repeats = [integer(n) for n in context.known(node, 1)]
    if cost(value) and any(times != 1 for times in repeats):
        value = Load(context.view(node.inputs[0]))  # it would be computed for each copy
    for axis in reversed(range(len(repeats))):
        times = repeats[axis]
        if times != 1:
            size = value.shape[axis]
            value = context.insert(value, axis, times)
            value = context.reshape(value, (*value.shape[:axis], times * size, *value.shape[axis + 2 :]))
    context.define(node.outputs[0], value)


@rule("Slice")
def _slice(context: Context, node: Node) -> None:
    value = context.value(node.inputs[0])
    rank = len(value.shape)
    starts, ends, axes, steps = _bounds(context, node)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = axis % rank
        size = value.shape[place]
        first = row_by_row(lambda *row: _selected(*row).start, size, start, end, step)
        count = row_by_row(lambda *row: len(_selected(*row)), size, start, end, step)
        value = context.slice(value, place, first, count, step)
    context.define(node.outputs[0], value)


def _selected(size: int, start: int, end: int, step: int) -> range:
    return range(size)[slice(start, end, step)]


def _bounds(context: Context, node: Node) -> tuple[Sequence[int], ...]:
    """Return starts, ends, axes and steps: attributes up to opset 9, inputs since."""
    if node.opset < 10:
        starts, ends = node.integers("starts"), node.integers("ends")
        return starts, ends, node.integers("axes", range(len(starts))), [1] * len(starts)
    starts, ends = (tuple(integer(i) for i in context.known(node, place).ravel()) for place in (1, 2))
    axes, steps = (context.optional(node, place) for place in (3, 4))
    return (
        starts,
        ends,
        range(len(starts)) if axes is None else [int(i) for i in axes.ravel()],
        [1] * len(starts) if steps is None else [int(i) for i in steps.ravel()],
    )


@rule("Split")
def _split(context: Context, node: Node) -> None:
    context.optional(node, 1)
    value = context.value(node.inputs[0])
    axis = normal_axis(node, len(value.shape))
    start = 0
    for name in node.outputs:
        count = context.shape(name)[axis] if name else 0
        if name:
            context.define(name, context.slice(value, axis, start, count))
        start += count


@rule("Concat", takes_empty=True)
def _concat(context: Context, node: Node) -> None:
    values = [context.value(name) for name in node.inputs]
    axis = normal_axis(node, len(values[0].shape), 1)
    context.define(node.outputs[0], joined(context, values, axis))


def joined(context: Context, values: list[Expression], axis: int) -> Expression:
    """Concatenate values in a new buffer."""
    total = sum(value.shape[axis] for value in values)
    shape = (*values[0].shape[:axis], total, *values[0].shape[axis + 1 :])
    out = context.scratch(shape)
    start = 0
    for value in values:
        count = value.shape[axis]
        if count:
            context.add(Map(value, out.slice(axis, start, count)))
        start += count
    return Load(out)


def padded(
    context: Context,
    value: Expression,
    before: list[int],
    after: list[int],
    filling: float | Expression = 0.0,
) -> View:
    """Write a value into a new buffer with a border of `filling`."""
    shape = tuple(b + n + a for b, n, a in zip(before, value.shape, after, strict=True))
    if shape == value.shape and isinstance(value, Load):
        return value.view
    out = context.scratch(shape, "padded")
    put_padded(context, value, before, after, out, filling)
    return out


def put_padded(
    context: Context,
    value: Expression,
    before: list[int],
    after: list[int],
    out: View,
    filling: float | Expression = 0.0,
) -> None:
    """Write a value into the middle of a view, and `filling` around it."""
    inner = out
    border = filling if isinstance(filling, Expression) else Number(filling)
    for axis, (low, high) in enumerate(zip(before, after, strict=True)):
        for start, count in ((0, low), (out.shape[axis] - high, high)):
            if count:
                edge = inner.slice(axis, start, count)
                context.add(Map(expand(border, edge.shape), edge))
        inner = inner.slice(axis, low, value.shape[axis])
    context.add(Map(value, inner))


@rule("DepthToSpace", accepts={"mode": ("DCR", "CRD")})
def _depth_to_space(context: Context, node: Node) -> None:
    value = context.value(node.inputs[0])
    n, c, h, w = value.shape
    size = node.integer("blocksize")
    if node.text("mode", "DCR") == "DCR":
        value = context.reshape(value, (n, size, size, c // size**2, h, w))
        value = context.permute(value, (0, 3, 4, 1, 5, 2))
    else:
        value = context.reshape(value, (n, c // size**2, size, size, h, w))
        value = context.permute(value, (0, 1, 4, 2, 5, 3))
    context.define(node.outputs[0], context.reshape(value, context.shape(node.outputs[0])))


@rule("SpaceToDepth", accepts={"mode": ("DCR", "CRD")})
def _space_to_depth(context: Context, node: Node) -> None:
    value = context.value(node.inputs[0])
    n, c, h, w = value.shape
    size = node.integer("blocksize")
    value = context.reshape(value, (n, c, h // size, size, w // size, size))
    order = (0, 3, 5, 1, 2, 4) if node.text("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    context.define(
        node.outputs[0], context.reshape(context.permute(value, order), context.shape(node.outputs[0]))
    )
