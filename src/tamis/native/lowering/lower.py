"""Every operator has a rule; a graph is lowered node by node."""

from __future__ import annotations

import numpy as np

from tamis._base import ModelError
from tamis.native.expression import Number
from tamis.native.graph import Graph, Node
from tamis.native.lowering import (
    activation,
    contraction,
    einsum,
    elementwise,
    movement,
    normalisation,
    pooling,
    quantised,
    recurrent,
    reduction,
    resampling,
    scanning,
    selection,
)
from tamis.native.lowering.context import Context, unsupported
from tamis.native.program import Map, Program
from tamis.native.view import Buffer, Role, View

RULES = {
    **elementwise.RULES,
    **activation.RULES,
    **movement.RULES,
    **resampling.RULES,
    **selection.RULES,
    **scanning.RULES,
    **reduction.RULES,
    **normalisation.RULES,
    **contraction.RULES,
    **einsum.RULES,
    **pooling.RULES,
    **quantised.RULES,
    **recurrent.RULES,
}
NUMBERS = "biu"  # kinds of whole numbers and truths: floats here, exact as far as they are counts and indices
JOINING = {"Concat"}  # these take no notice of what is empty


def lower(graph: Graph) -> Program:
    """Return the program of a graph, or say which node cannot be compiled."""
    for name in (*graph.inputs, *graph.outputs):
        kind = graph.types[name].dtype
        if kind != np.float32 and kind.kind not in NUMBERS:
            raise ModelError(
                f"the native engine computes in float32, and {name!r} is {kind}; use engine='onnxruntime' or 'auto'"
            )
        if 0 in graph.types[name].shape:
            raise ModelError(
                f"{name!r} of shape {graph.types[name].shape} holds nothing; use engine='onnxruntime' or 'auto'"
            )
    context = Context(graph)
    for node in graph.nodes:
        _lower_node(context, node)
    for name in graph.outputs:
        value = context.value(name)
        buffer = Buffer(name, int(np.prod(value.shape)), Role.OUTPUT)
        context.program.outputs.append(buffer)
        context.add(Map(value, View.whole(buffer, value.shape)))
    return context.program


def _lower_node(context: Context, node: Node) -> None:
    rule = RULES.get(node.kind)
    if rule is None:
        raise unsupported(node, "this operator has no rule")
    named = [name for name in node.outputs if name]
    for name in named:
        kind = context.dtype(name)
        if kind not in (np.float32, np.float64) and kind.kind not in NUMBERS:
            raise unsupported(node, f"its result {name!r} is {kind}, and only float32 is computed in")
    if all(0 in context.shape(name) for name in named):
        for name in named:
            context.define(name, Number(0.0, context.shape(name)))
        return
    if node.kind not in JOINING and any(name and 0 in context.shape(name) for name in node.inputs[:1]):
        raise unsupported(node, f"its input {node.inputs[0]!r} holds nothing")
    rule(context, node)
    for name in named:
        if context.is_needed(name) and not context.is_defined(name):
            raise unsupported(node, f"its result {name!r} is not done")
