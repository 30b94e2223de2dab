"""Operators that select elements: by sorting, or by indices that may depend on the event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from tamis.native.expression import Expression, Load, Number, call
from tamis.native.graph import Node
from tamis.native.limits import LONGEST_SORTED
from tamis.native.lowering.context import Context, unsupported
from tamis.native.lowering.operators.movement import joined, normal_axis
from tamis.native.lowering.rule import rule
from tamis.native.program import Choice, Map, Order, Pick, Put
from tamis.native.sizes import integer, is_fixed
from tamis.native.thresholds import COPIED_RUNS
from tamis.native.view import View


def pick(
    context: Context, source: View, axis: int, places: View, shape: Sequence[int], lead: int, rank: int
) -> View:
    """Gather along one axis, which is replaced by the `rank` axes of the indices; these begin at axis `lead` of the result."""
    inner = tuple(source.shape[:axis]) + (1,) * rank + tuple(source.shape[axis + 1 :])
    strides = source.strides[:axis] + (0,) * rank + source.strides[axis + 1 :]
    base = replace(source, shape=inner, strides=strides).expand(shape)
    indices = places
    for _ in range(lead):
        indices = indices.insert(0)
    for _ in range(len(shape) - lead - rank):
        indices = indices.insert(len(indices.shape))
    out = context.scratch(shape)
    choice = Choice(indices.expand(shape), source.shape[axis], source.strides[axis])
    context.add(Pick(base, (choice,), out))
    return out


@rule("Gather")
def _gather(context: Context, node: Node) -> None:
    """Gather along an axis; constant indices become views or copies where they are evenly spaced."""
    value = context.value(node.inputs[0])
    axis = normal_axis(node, len(value.shape))
    indices, shape = context.constant(node.inputs[1]), context.shape(node.outputs[0])
    if indices is not None and not is_fixed(value.shape[axis]) and (indices.size > 1 or (indices < 0).any()):
        indices = None  # they are counted from the end, or the axis is shorter in some rows
    if indices is not None and ((indices >= value.shape[axis]) | (indices < -value.shape[axis])).any():
        raise unsupported(
            node,
            f"its indices are outside of axis {axis}, which has {value.shape[axis]} elements; fix the model",
        )
    if indices is not None and indices.ndim == 0:
        place = int(indices) if indices >= 0 else int(indices) + value.shape[axis]
        context.define(node.outputs[0], context.at(value, axis, place))
        return
    if indices is not None:
        context.define(
            node.outputs[0], context.reshape(take(context, value, axis, indices.ravel().tolist()), shape)
        )
        return
    places = context.view(node.inputs[1])
    gathered = pick(context, context.write(value), axis, places, shape, axis, len(places.shape))
    context.define(node.outputs[0], Load(gathered))


def take(context: Context, value: Expression, axis: int, indices: Sequence[int]) -> Expression:
    """Return constant indices of an axis: as a view, as copies of a few runs, or gathered one by one."""
    places = [int(i) % value.shape[axis] for i in indices]
    runs = _runs(places)
    if len(runs) == 1:
        start, count, step = runs[0]
        return context.slice(value, axis, start, count, step)
    shape = (*value.shape[:axis], len(places), *value.shape[axis + 1 :])
    view = Load(context.write(value))
    if len(runs) <= COPIED_RUNS:
        return joined(
            context, [context.slice(view, axis, start, count, step) for start, count, step in runs], axis
        )
    held = View.whole(context.constant_buffer(np.array(places, np.float32)), (len(places),))
    return Load(pick(context, view.view, axis, held, shape, axis, 1))


def _runs(places: Sequence[int]) -> list[tuple[int, int, int]]:
    """Split indices into evenly spaced runs: (start, count, step) of each."""
    runs: list[tuple[int, int, int]] = []
    for place in places:
        if runs:
            start, count, step = runs[-1]
            if count == 1 or place == start + count * step:
                runs[-1] = (start, count + 1, place - start if count == 1 else step)
                continue
        runs.append((place, 1, 1))
    return runs


@rule("GatherElements")
def _gather_elements(context: Context, node: Node) -> None:
    source, places = context.view(node.inputs[0]), context.view(node.inputs[1])
    axis = normal_axis(node, len(source.shape))
    out = context.scratch(places.shape)
    context.add(Pick(*_along(source, axis, places), out))
    context.define(node.outputs[0], Load(out))


def _along(view: View, axis: int, places: View) -> tuple[View, tuple[Choice, ...]]:
    """Return a view under the shape of the indices, which select from one axis of it."""
    strides = tuple(0 if place == axis else stride for place, stride in enumerate(view.strides))
    base = replace(view, shape=places.shape, strides=strides)
    return base, (Choice(places, view.shape[axis], view.strides[axis]),)


def _tuples(view: View, places: View, batch: int) -> tuple[View, tuple[Choice, ...]]:
    """Return a view whose elements are selected by tuples of indices, the last axis of `places`, after `batch` axes of a batch."""
    lead, depth = places.shape[:-1], places.shape[-1]
    rest = view.shape[batch + depth :]
    shape = (*lead, *rest)
    strides = view.strides[:batch] + (0,) * (len(lead) - batch) + view.strides[batch + depth :]
    choices = []
    for number in range(depth):
        indices = places.at(len(places.shape) - 1, number)
        for _ in rest:
            indices = indices.insert(len(indices.shape))
        choices.append(
            Choice(indices.expand(shape), view.shape[batch + number], view.strides[batch + number])
        )
    return replace(view, shape=shape, strides=strides), tuple(choices)


@rule("GatherND")
def _gather_nd(context: Context, node: Node) -> None:
    source, places = context.view(node.inputs[0]), context.view(node.inputs[1])
    base, choices = _tuples(source, places, node.integer("batch_dims", 0))
    out = context.scratch(base.shape)
    context.add(Pick(base, choices, out))
    context.define(node.outputs[0], context.reshape(Load(out), context.shape(node.outputs[0])))


@rule("ScatterND", "ScatterElements", "Scatter", accepts={"reduction": ("none", "add", "mul", "max", "min")})
def _scatter(context: Context, node: Node) -> None:
    """Copy the input, then apply the updates one after the other."""
    kind = node.text("reduction", "none")
    value = context.value(node.inputs[0])
    out = context.scratch(value.shape)
    context.add(Map(value, out))
    places, updates = context.view(node.inputs[1]), context.view(node.inputs[2])
    if node.kind == "ScatterND":
        base, choices = _tuples(out, places, 0)
    else:
        base, choices = _along(out, normal_axis(node, len(out.shape)), places)
    context.add(Put(updates, choices, base, "set" if kind == "none" else kind))
    context.define(node.outputs[0], Load(out))


@rule("TensorScatter", accepts={"mode": ("linear", "circular")})
def _tensor_scatter(context: Context, node: Node) -> None:
    """Write a part of a cache, from an index of each element of the batch on."""
    value, updates = context.value(node.inputs[0]), context.view(node.inputs[1])
    out = context.scratch(value.shape)
    context.add(Map(value, out))
    rank = len(value.shape)
    axis = normal_axis(node, rank, -2)
    size, tail = value.shape[axis], (1,) * (rank - axis - 1)
    place = context.reshape(context.positions(updates.shape[axis]), (updates.shape[axis], *tail))
    if node.input(2):
        first = context.reshape(context.value(node.inputs[2]), (value.shape[0], *[1] * (rank - 1)))
        place = call("add", first, place)
    if node.text("mode", "linear") == "circular":
        place = call("mod", place, context.factor(float, size))
    places = context.write(place).expand(updates.shape)
    base, choices = _along(out, axis, places)
    context.add(Put(updates, choices, base))
    context.define(node.outputs[0], Load(out))


@rule("ReverseSequence")
def _reverse_sequence(context: Context, node: Node) -> None:
    """Reverse the beginning of each sequence, whose lengths may depend on the event."""
    view = context.view(node.inputs[0])
    rank, time, batch = len(view.shape), node.integer("time_axis", 0), node.integer("batch_axis", 1)

    def along(value: Expression, axis: int) -> Expression:
        return context.reshape(value, tuple(view.shape[axis] if a == axis else 1 for a in range(rank)))

    place = along(context.positions(view.shape[time]), time)
    length = along(context.value(node.inputs[1]), batch)
    mirrored = call("sub", call("sub", length, Number(1.0)), place)
    place = call("where", call("less", place, length), mirrored, place)
    out = context.scratch(view.shape)
    context.add(Pick(*_along(view, time, context.write(place).expand(view.shape)), out))
    context.define(node.outputs[0], Load(out))


@rule("TopK")
def _top_k(context: Context, node: Node) -> None:
    value = context.view(node.inputs[0])
    rank = len(value.shape)
    axis = normal_axis(node, rank, -1)
    count = integer(context.known(node, 1).ravel()[0]) if node.input(1) else node.integer("k")
    shape = (*value.shape[:axis], count, *value.shape[axis + 1 :])
    order = (*(one for one in range(rank) if one != axis), axis)
    outs = [
        context.scratch(shape) if context.is_needed(name) else None for name in [*node.outputs, "", ""][:2]
    ]
    rows = value.permute(order)
    permuted = (None if out is None else out.permute(order) for out in outs)
    _sort(context, node, rows, count, bool(node.integer("largest", 1)), *permuted)
    for name, out in zip(node.outputs, outs, strict=False):
        if out is not None:
            context.define(name, Load(out))


def _sort(
    context: Context, node: Node, rows: View, count: int, largest: bool, values: View | None, places: View | None
) -> None:  # fmt: skip
    if count > LONGEST_SORTED:
        raise unsupported(
            node, f"it selects {count} elements of a row in order, and {LONGEST_SORTED} are supported"
        )
    context.add(Order(rows, count, largest, values, places))


@rule("ArgMax", "ArgMin")
def _arg(context: Context, node: Node) -> None:
    value = context.view(node.inputs[0])
    rank = len(value.shape)
    axis = normal_axis(node, rank)
    last = bool(node.integer("select_last_index", 0))
    size = value.shape[axis]
    rows = value.slice(axis, size - 1, size, -1) if last else value
    out = context.scratch((*value.shape[:axis], 1, *value.shape[axis + 1 :]))
    order = (*(one for one in range(rank) if one != axis), axis)
    _sort(context, node, rows.permute(order), 1, node.kind == "ArgMax", None, out.permute(order))
    index: Expression = Load(out)
    if last:
        index = call("sub", context.broadcast(context.factor(lambda n: n - 1.0, size), index.shape), index)
    context.define(node.outputs[0], context.reshape(index, context.shape(node.outputs[0])))


@rule("Hardmax")
def _hardmax(context: Context, node: Node) -> None:
    """Return 1 for the first of the largest elements, 0 for all others."""
    value = context.value(node.inputs[0])
    axis = normal_axis(node, len(value.shape), -1 if node.opset >= 13 else 1)
    if node.opset < 13:  # up to opset 12: over this axis and all after it
        flat = context.reshape(value, (prod(value.shape[:axis]), prod(value.shape[axis:])))
    else:
        flat = context.permute(value, (*(a for a in range(len(value.shape)) if a != axis), axis))
    rows = context.write(flat)
    out = context.scratch((*rows.shape[:-1], 1))
    _sort(context, node, rows, 1, True, None, out)
    result = _one_hot_of(context, Load(out), rows.shape)
    if node.opset < 13:
        result = context.reshape(result, value.shape)
    else:
        last = len(value.shape) - 1
        result = context.permute(result, (*range(axis), last, *range(axis, last)))
    context.define(node.outputs[0], result)


def _one_hot_of(context: Context, index: Expression, shape: tuple[int, ...]) -> Expression:
    """Return 1 where the position along the last axis equals an index, 0 elsewhere."""
    positions = context.positions(shape[-1])
    return call("equal", context.broadcast(index, shape), context.broadcast(positions, shape))


@rule("OneHot")
def _one_hot(context: Context, node: Node) -> None:
    depth = integer(context.known(node, 1).ravel()[0])
    off, on = (context.at(context.value(node.inputs[2]), 0, place) for place in (0, 1))
    indices = context.value(node.inputs[0])
    rank = len(indices.shape) + 1
    axis = normal_axis(node, rank, -1)
    from_end = call("add", indices, context.broadcast(context.factor(float, depth), indices.shape))
    wrapped = call("where", call("less", indices, Number(0.0)), from_end, indices)
    index = context.reshape(wrapped, (*indices.shape, 1))
    result = call("where", _one_hot_of(context, index, (*indices.shape, depth)), on, off)
    context.define(node.outputs[0], context.permute(result, (*range(axis), rank - 1, *range(axis, rank - 1))))


@rule("Compress")
def _compress(context: Context, node: Node) -> None:
    """Select the indices at which a constant condition holds."""
    value = context.value(node.inputs[0])
    selected = np.flatnonzero(context.known(node, 1)).tolist()
    if not node.has("axis"):
        value = context.reshape(value, (prod(value.shape),))
    axis = normal_axis(node, len(value.shape))
    context.define(node.outputs[0], take(context, value, axis, selected))
