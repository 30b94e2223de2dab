"""Operators that go along an axis step by step, and masks of triangles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tamis.native.expression import Expression, Load, Number, call
from tamis.native.graph import Node
from tamis.native.lowering.context import Context
from tamis.native.program import Loop, Map

Rule = Callable[[Context, Node], None]


def _running(context: Context, node: Node) -> None:
    """Sum up (or multiply) along an axis: a loop that keeps the total so far."""
    x = context.view(node.inputs[0])
    axis = int(context.known(node, 1).ravel()[0]) % len(x.shape)
    function, first = ("add", 0.0) if node.kind == "CumSum" else ("mul", 1.0)
    backward, exclusive = bool(node.integer("reverse", 0)), bool(node.integer("exclusive", 0))
    out = context.scratch(x.shape)
    total = context.scratch((*x.shape[:axis], *x.shape[axis + 1 :]))
    context.add(Map(Number(first, total.shape), total))
    step_in, step_out = (view.turning(axis, backward=backward) for view in (x, out))
    more = Map(call(function, Load(total), Load(step_in)), total)
    write = Map(Load(total), step_out)
    context.add(Loop(x.shape[axis], (write, more) if exclusive else (more, write)))
    context.define(node.outputs[0], Load(out))


def _triangle(context: Context, node: Node) -> None:
    """Keep the elements on one side of a diagonal."""
    value = context.value(node.inputs[0])
    shift = int(context.known(node, 1).ravel()[0]) if node.input(1) else 0
    whole = np.ones(value.shape[-2:], np.float32)
    mask = np.triu(whole, shift) if node.integer("upper", 1) else np.tril(whole, shift)
    kept: Expression = context.broadcast(context.hold(mask), value.shape)
    context.define(node.outputs[0], call("where", kept, value, Number(0.0)))


RULES: dict[str, Rule] = {"CumSum": _running, "CumProd": _running, "Trilu": _triangle}
