"""Lowering: a graph becomes a program node by node, each by the rule of its operator."""

from __future__ import annotations

from math import prod

import numpy as np

from tamis._base import ModelError
from tamis.native.expression import Number
from tamis.native.graph import Graph, Node
from tamis.native.limits import OTHER_ENGINES
from tamis.native.lowering import operators
from tamis.native.lowering.context import Context, unsupported
from tamis.native.lowering.rule import RULES
from tamis.native.program import Map, Program
from tamis.native.view import Buffer, Role, View

assert operators  # noqa: S101 - its import registers the rules
INTERFACE_FLOATS = (np.float32, np.float16)  # of inputs and outputs
COMPUTED_FLOATS = (np.float32, np.float16, np.float64)  # all are float32 in the program
INTEGER_KINDS = "biu"  # numpy's kinds of booleans and integers, which are floats here


def lower(graph: Graph) -> Program:
    """Return the program of a graph; ModelError for a node that cannot be compiled."""
    for name in (*graph.inputs, *graph.outputs):
        dtype = graph.types[name].dtype
        if dtype not in INTERFACE_FLOATS and dtype.kind not in INTEGER_KINDS:
            raise ModelError(
                f"the native engine computes in float32, and {name!r} is {dtype}; {OTHER_ENGINES}"
            )
    if not graph.inputs:
        raise ModelError(f"the model has no inputs, and its outputs are constants; {OTHER_ENGINES}")
    reading = {kind for kind, rule in RULES.items() if rule.reads_buffers}
    stored = (name for node in graph.nodes if node.kind in reading for name in node.inputs)
    context = Context(graph, stored)
    for node in graph.nodes:
        _lower_node(context, node)
    for name in graph.outputs:
        value = context.value(name)
        buffer = Buffer(name, prod(value.shape), Role.OUTPUT)
        context.program.outputs.append(buffer)
        context.add(Map(value, View.whole(buffer, value.shape)))
    return context.program


def _lower_node(context: Context, node: Node) -> None:
    rule = RULES.get(node.kind)
    if rule is None:
        raise unsupported(node, "this operator has no rule")
    outputs = [name for name in node.outputs if name]
    for name in outputs:
        dtype = context.dtype(name)
        if dtype not in COMPUTED_FLOATS and dtype.kind not in INTEGER_KINDS:
            raise unsupported(node, f"its output {name!r} is {dtype}, not float32")
    if all(0 in context.shape(name) for name in outputs):
        for name in outputs:
            context.define(name, Number(0.0, context.shape(name)))
        return
    if not rule.takes_empty and any(name and 0 in context.shape(name) for name in node.inputs[:1]):
        raise unsupported(node, f"its input {node.inputs[0]!r} has no elements")
    rule.check(node)
    rule.lower(context, node)
    for name in outputs:
        if context.is_needed(name) and not context.is_defined(name):
            raise unsupported(node, f"its output {name!r} is not supported")
