"""Graph queries and edits that the passes share."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import onnx_ir as ir


def rewrite_each(
    graph: ir.Graph, operators: Collection[str], rewrite: Callable[[ir.Graph, ir.Node], bool]
) -> int:
    """Apply a rewrite to every node of these standard operators; return the number of changed nodes."""
    nodes = [node for node in graph if node.op_type in operators and node.domain in ("", "ai.onnx")]
    return sum(rewrite(graph, node) for node in nodes)


def constant(value: ir.Value | None) -> np.ndarray | None:
    """Return the array of an initializer, or None for a computed value."""
    if value is None or value.const_value is None or not value.is_initializer() or value.is_graph_input():
        return None
    return value.const_value.numpy()


def only_consumer(value: ir.Value) -> ir.Node | None:
    """Return the only node that reads a value, or None if there are several or it is a graph output."""
    consumers = list(value.consumers())
    return (
        consumers[0]
        if len(consumers) == 1 and len(value.uses()) == 1 and not value.is_graph_output()
        else None
    )


def replace_constant(graph: ir.Graph, node: ir.Node, position: int, array: np.ndarray, fallback: str) -> None:
    """Replace a constant input of a node; the new one takes the old name, so that parameters keep their names."""
    old = node.inputs[position] if position < len(node.inputs) else None
    name = old.name if old is not None and old.name else fallback
    if old is not None and len(old.uses()) == 1 and not old.is_graph_output():
        node.replace_input_with(position, None)
        graph.initializers.pop(name, None)
    else:
        name = fresh_name(graph, name)
    if position >= len(node.inputs):
        node.resize_inputs(position + 1)
    node.replace_input_with(position, add_initializer(graph, name, array))


def add_initializer(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    """Add a constant to the graph and return it."""
    value = ir.Value(name=name, const_value=ir.tensor(np.ascontiguousarray(array), name=name))
    value.shape, value.dtype = ir.Shape(array.shape), ir.DataType.from_numpy(array.dtype)
    graph.register_initializer(value)
    return value


def fresh_name(graph: ir.Graph, name: str) -> str:
    """Return a name that is not used by an initializer of the graph."""
    count = 0
    while f"{name}_{count}" in graph.initializers:
        count += 1
    return f"{name}_{count}"


def ints(node: ir.Node, name: str, default: list[int]) -> list[int]:
    """Return an attribute with a list of integers."""
    attribute = node.attributes.get(name)
    return list(attribute.as_ints()) if attribute is not None else default


def integer(node: ir.Node, name: str, default: int) -> int:
    """Return an integer attribute."""
    attribute = node.attributes.get(name)
    return attribute.as_int() if attribute is not None else default


def text(node: ir.Node, name: str, default: str) -> str:
    """Return a string attribute."""
    attribute = node.attributes.get(name)
    return attribute.as_string() if attribute is not None else default
