"""Cumulative sums and products, and triangular masks."""

from __future__ import annotations

import numpy as np

from tamis.native.expression import Expression, Load, Number, call
from tamis.native.graph import Node
from tamis.native.lowering.context import Context
from tamis.native.lowering.rule import rule
from tamis.native.program import Loop, Map


@rule("CumSum", "CumProd")
def _cumulative(context: Context, node: Node) -> None:
    """Loop along the axis with a running total."""
    x = context.view(node.inputs[0])
    axis = int(context.known(node, 1).ravel()[0]) % len(x.shape)
    function, first = ("add", 0.0) if node.kind == "CumSum" else ("mul", 1.0)
    backward, exclusive = bool(node.integer("reverse", 0)), bool(node.integer("exclusive", 0))
    out = context.scratch(x.shape)
    total = context.scratch((*x.shape[:axis], *x.shape[axis + 1 :]))
    context.add(Map(Number(first, total.shape), total))
    step_in, step_out = (view.turning(axis, backward=backward) for view in (x, out))
    update = Map(call(function, Load(total), Load(step_in)), total)
    write = Map(Load(total), step_out)
    context.add(Loop(x.shape[axis], (write, update) if exclusive else (update, write)))
    context.define(node.outputs[0], Load(out))


@rule("Trilu")
def _triangle(context: Context, node: Node) -> None:
    """Set the elements on one side of a diagonal to zero."""
    value = context.value(node.inputs[0])
    shift = int(context.known(node, 1).ravel()[0]) if node.input(1) else 0
    ones = np.ones(value.shape[-2:], np.float32)
    mask = np.triu(ones, shift) if node.integer("upper", 1) else np.tril(ones, shift)
    kept: Expression = context.broadcast(context.constant_value(mask), value.shape)
    context.define(node.outputs[0], call("where", kept, value, Number(0.0)))
