"""Operators that choose elements: by their order, or by indices that are known only with the event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from tamis.native.expression import Expression, Load, Number, call
from tamis.native.graph import Node
from tamis.native.lowering.context import Context, unsupported
from tamis.native.lowering.movement import joined, normal_axis
from tamis.native.program import Choice, Map, Order, Pick, Put
from tamis.native.view import View

Rule = Callable[[Context, Node], None]
RUNS = 8  # runs of neighbours that are copied one by one; more of them are picked by their indices
LONGEST = 4096  # elements of a row that are put in order


def pick(
    context: Context, source: View, axis: int, places: View, shape: Sequence[int], lead: int, rank: int
) -> View:
    """Pick along one axis: the indices take its place, from `lead` on, with `rank` axes."""
    inner = tuple(source.shape[:axis]) + (1,) * rank + tuple(source.shape[axis + 1 :])
    strides = source.strides[:axis] + (0,) * rank + source.strides[axis + 1 :]
    base = replace(source, shape=inner, strides=strides).expand(shape)
    chosen = places
    for _ in range(lead):
        chosen = chosen.insert(0)
    for _ in range(len(shape) - lead - rank):
        chosen = chosen.insert(len(chosen.shape))
    out = context.scratch(shape)
    choice = Choice(chosen.expand(shape), source.shape[axis], source.strides[axis])
    context.add(Pick(base, (choice,), out))
    return out


def _gather(context: Context, node: Node) -> None:
    """Pick indices: known ones run by run, where there are few runs of even distances."""
    value = context.value(node.inputs[0])
    axis = normal_axis(node, len(value.shape))
    indices, shape = context.constant(node.inputs[1]), context.shape(node.outputs[0])
    if indices is not None and ((indices >= value.shape[axis]) | (indices < -value.shape[axis])).any():
        raise unsupported(
            node, f"its indices reach beyond the {value.shape[axis]} elements of axis {axis}; mend the model"
        )
    if indices is not None and indices.ndim == 0:
        place = int(indices) % value.shape[axis]
        context.define(node.outputs[0], context.at(value, axis, place))
        return
    if indices is not None:
        context.define(
            node.outputs[0], context.reshape(take(context, value, axis, indices.ravel().tolist()), shape)
        )
        return
    places = context.view(node.inputs[1])
    picked = pick(context, context.write(value), axis, places, shape, axis, len(places.shape))
    context.define(node.outputs[0], Load(picked))


def take(context: Context, value: Expression, axis: int, indices: Sequence[int]) -> Expression:
    """Return known indices of an axis: as a view, as copies of a few runs, or picked one by one."""
    places = [int(i) % value.shape[axis] for i in indices]
    runs = _runs(places)
    if len(runs) == 1:
        start, count, step = runs[0]
        return context.slice(value, axis, start, count, step)
    shape = (*value.shape[:axis], len(places), *value.shape[axis + 1 :])
    view = Load(context.write(value))
    if len(runs) <= RUNS:
        return joined(
            context, [context.slice(view, axis, start, count, step) for start, count, step in runs], axis
        )
    held = View.whole(context.keep(np.array(places, np.float32)), (len(places),))
    return Load(pick(context, view.view, axis, held, shape, axis, 1))


def _runs(places: Sequence[int]) -> list[tuple[int, int, int]]:
    """Cut indices into runs of even distances: (start, count, step) of each."""
    runs: list[tuple[int, int, int]] = []
    for place in places:
        if runs:
            start, count, step = runs[-1]
            if count == 1 or place == start + count * step:
                runs[-1] = (start, count + 1, place - start if count == 1 else step)
                continue
        runs.append((place, 1, 1))
    return runs


def _gather_elements(context: Context, node: Node) -> None:
    source, places = context.view(node.inputs[0]), context.view(node.inputs[1])
    axis = normal_axis(node, len(source.shape))
    out = context.scratch(places.shape)
    context.add(Pick(*_along(source, axis, places), out))
    context.define(node.outputs[0], Load(out))


def _along(view: View, axis: int, places: View) -> tuple[View, tuple[Choice, ...]]:
    """Return a view with the shape of indices, whose axis they choose from."""
    strides = tuple(0 if place == axis else stride for place, stride in enumerate(view.strides))
    base = replace(view, shape=places.shape, strides=strides)
    return base, (Choice(places, view.shape[axis], view.strides[axis]),)


def _tuples(view: View, places: View, batch: int) -> tuple[View, tuple[Choice, ...]]:
    """Return a view of what tuples of indices choose: those of the last axis of `places`, after so many axes of a batch."""
    lead, depth = places.shape[:-1], places.shape[-1]
    rest = view.shape[batch + depth :]
    shape = (*lead, *rest)
    strides = view.strides[:batch] + (0,) * (len(lead) - batch) + view.strides[batch + depth :]
    choices = []
    for number in range(depth):
        chosen = places.at(len(places.shape) - 1, number)
        for _ in rest:
            chosen = chosen.insert(len(chosen.shape))
        choices.append(Choice(chosen.expand(shape), view.shape[batch + number], view.strides[batch + number]))
    return replace(view, shape=shape, strides=strides), tuple(choices)


def _gather_nd(context: Context, node: Node) -> None:
    source, places = context.view(node.inputs[0]), context.view(node.inputs[1])
    base, choices = _tuples(source, places, node.integer("batch_dims", 0))
    out = context.scratch(base.shape)
    context.add(Pick(base, choices, out))
    context.define(node.outputs[0], context.reshape(Load(out), context.shape(node.outputs[0])))


def _scatter(context: Context, node: Node) -> None:
    """Copy, and put updates where the indices say, one after the other."""
    kind = node.text("reduction", "none")
    if kind not in ("none", "add", "mul", "max", "min"):
        raise unsupported(node, f"reduction={kind!r} is not done, only none, add, mul, max and min")
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


def _top_k(context: Context, node: Node) -> None:
    value = context.view(node.inputs[0])
    rank = len(value.shape)
    axis = normal_axis(node, rank, -1)
    count = int(context.known(node, 1).ravel()[0]) if node.input(1) else node.integer("k")
    shape = (*value.shape[:axis], count, *value.shape[axis + 1 :])
    order = (*(one for one in range(rank) if one != axis), axis)
    outs = [
        context.scratch(shape) if context.is_needed(name) else None for name in [*node.outputs, "", ""][:2]
    ]
    rows = value.permute(order)
    _put_in_order(context, node, rows, count, bool(node.integer("largest", 1)),
                  *(None if out is None else out.permute(order) for out in outs))  # fmt: skip
    for name, out in zip(node.outputs, outs, strict=False):
        if out is not None:
            context.define(name, Load(out))


def _put_in_order(
    context: Context, node: Node, rows: View, count: int, largest: bool, values: View | None, places: View | None
) -> None:  # fmt: skip
    if count > LONGEST:
        raise unsupported(node, f"the first {count} of a row are not put in order, only up to {LONGEST}")
    context.add(Order(rows, count, largest, values, places))


def _arg(context: Context, node: Node) -> None:
    value = context.view(node.inputs[0])
    rank = len(value.shape)
    axis = normal_axis(node, rank)
    last = bool(node.integer("select_last_index", 0))
    size = value.shape[axis]
    rows = value.slice(axis, size - 1, size, -1) if last else value
    out = context.scratch((*value.shape[:axis], 1, *value.shape[axis + 1 :]))
    order = (*(one for one in range(rank) if one != axis), axis)
    _put_in_order(
        context, node, rows.permute(order), 1, node.kind == "ArgMax", None, out.permute(order)
    )  # fmt: skip
    found: Expression = Load(out)
    if last:
        found = call("sub", Number(size - 1.0), found)
    context.define(node.outputs[0], context.reshape(found, context.shape(node.outputs[0])))


def _hardmax(context: Context, node: Node) -> None:
    """One where the first of the largest lies, zero elsewhere."""
    value = context.value(node.inputs[0])
    axis = normal_axis(node, len(value.shape), -1 if node.opset >= 13 else 1)
    if node.opset < 13:  # of old: over all axes from there on
        flat = context.reshape(value, (prod(value.shape[:axis]), prod(value.shape[axis:])))
    else:
        flat = context.permute(value, (*(a for a in range(len(value.shape)) if a != axis), axis))
    rows = context.write(flat)
    out = context.scratch((*rows.shape[:-1], 1))
    _put_in_order(context, node, rows, 1, True, None, out)
    found = _is_place(context, Load(out), rows.shape)
    if node.opset < 13:
        found = context.reshape(found, value.shape)
    else:
        found = context.permute(
            found, (*range(axis), len(value.shape) - 1, *range(axis, len(value.shape) - 1))
        )
    context.define(node.outputs[0], found)


def _is_place(context: Context, place: Expression, shape: tuple[int, ...]) -> Expression:
    """Compare indices with the numbers of the last axis."""
    numbers = context.hold(np.arange(shape[-1], dtype=np.float32))
    return call("equal", context.broadcast(place, shape), context.broadcast(numbers, shape))


def _one_hot(context: Context, node: Node) -> None:
    depth = int(context.known(node, 1).ravel()[0])
    off, on = (float(one) for one in context.known(node, 2).ravel())
    places = context.value(node.inputs[0])
    rank = len(places.shape) + 1
    axis = normal_axis(node, rank, -1)
    wrapped = call(
        "where", call("less", places, Number(0.0)), call("add", places, Number(float(depth))), places
    )
    place = context.reshape(wrapped, (*places.shape, 1))
    found = call("where", _is_place(context, place, (*places.shape, depth)), Number(on), Number(off))
    context.define(node.outputs[0], context.permute(found, (*range(axis), rank - 1, *range(axis, rank - 1))))


def _compress(context: Context, node: Node) -> None:
    """Take where a known condition holds."""
    value = context.value(node.inputs[0])
    chosen = np.flatnonzero(context.known(node, 1)).tolist()
    if not node.has("axis"):
        value = context.reshape(value, (prod(value.shape),))
    axis = normal_axis(node, len(value.shape))
    context.define(node.outputs[0], take(context, value, axis, chosen))


RULES: dict[str, Rule] = {
    "Gather": _gather, "GatherElements": _gather_elements, "GatherND": _gather_nd, "ScatterND": _scatter,
    "ScatterElements": _scatter, "Scatter": _scatter, "TopK": _top_k, "ArgMax": _arg, "ArgMin": _arg, "Hardmax": _hardmax,
    "OneHot": _one_hot, "Compress": _compress,
}  # fmt: skip
