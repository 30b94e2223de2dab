"""From an ONNX model to the graph of one event.

The model is evaluated once on one event, which gives every shape; tensors that do not depend on the event (weights, and arithmetic on
shapes) become constants. Nodes that no output needs are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx.inliner
from onnx import AttributeProto, numpy_helper

from tamis._base import ModelError
from tamis.bundle import Reference
from tamis.bundle.model import RANDOM_OPERATORS
from tamis.native.graph import Attribute, Graph, Node, TensorType
from tamis.native.limits import refuse_large, refuse_large_tensors

PLAIN_DOMAINS = ("", "ai.onnx")
SHAPE_OPERATORS = {"Shape", "Size", "EyeLike"}  # they depend on the shape of their input alone
GRAPH_ATTRIBUTES = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def specialise(model: onnx.ModelProto, event: Mapping[str, np.ndarray]) -> Graph:
    """Return the graph of one event; `event` is an example, with the batch size that the model takes."""
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    refuse_large(model, event)
    values = Reference(model, double=False).trace(dict(event))
    constants = _known(model.graph, values)
    while any(_is_decided(node, constants) for node in model.graph.node):
        model = _without_branches(model, constants)
        values = Reference(model, double=False).trace(dict(event))
        constants = _known(model.graph, values)
    graph = model.graph
    opset = next((one.version for one in model.opset_import if one.domain in PLAIN_DOMAINS), 1)
    inputs = [one.name for one in graph.input if one.name not in constants]
    nodes: list[Node] = []
    for place, proto in enumerate(graph.node):
        if any(name in constants for name in proto.output):
            continue
        name = proto.name or f"{proto.op_type}_{place}"
        kind = proto.op_type if proto.domain in PLAIN_DOMAINS else f"{proto.domain}.{proto.op_type}"
        nodes.append(
            Node(kind, name, tuple(proto.input), tuple(proto.output), _attributes(proto, name), opset)
        )
    results = tuple(one.name for one in graph.output)
    needed = set(results)
    for node in reversed(nodes):
        if needed & set(node.outputs):
            needed |= set(node.inputs)
    nodes = [node for node in nodes if needed & set(node.outputs)]
    refuse_large_tensors(values)
    used = {name for node in nodes for name in node.inputs} | set(results)
    types = {
        name: TensorType(np.asarray(value).shape, np.asarray(value).dtype) for name, value in values.items()
    }
    return Graph(
        tuple(inputs), results, tuple(nodes), types, {name: value for name, value in constants.items() if name in used}
    )  # fmt: skip


def _known(graph: onnx.GraphProto, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the tensors that do not depend on the event."""
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    for node in graph.node:
        if node.op_type in RANDOM_OPERATORS or any(one.type in GRAPH_ATTRIBUTES for one in node.attribute):
            continue  # a nested graph may read any outer tensor
        reads_shapes_only = node.op_type in SHAPE_OPERATORS and node.domain in PLAIN_DOMAINS
        if reads_shapes_only or all(not name or name in constants for name in node.input):
            constants |= {name: np.asarray(values[name]) for name in node.output if name}
    return constants


def _is_decided(node: onnx.NodeProto, constants: Mapping[str, np.ndarray]) -> bool:
    """Return whether a node is an `If` with a constant condition."""
    return node.op_type == "If" and node.input[0] in constants


def _without_branches(model: onnx.ModelProto, constants: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """Replace each `If` that has a constant condition by its branch; PyTorch exports squeeze() that way."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.node[:]
    for node in model.graph.node:
        if not _is_decided(node, constants):
            changed.graph.node.append(node)
            continue
        taken = "then_branch" if constants[node.input[0]].all() else "else_branch"
        branch = next(one.g for one in node.attribute if one.name == taken)
        changed.graph.node.extend(branch.node)
        changed.graph.initializer.extend(branch.initializer)
        for inner, outer in zip(branch.output, node.output, strict=True):
            changed.graph.node.append(onnx.helper.make_node("Identity", [inner.name], [outer]))
    return changed


def _attributes(node: onnx.NodeProto, name: str) -> dict[str, Attribute]:
    attributes: dict[str, Attribute] = {}
    for one in node.attribute:
        if one.type == AttributeProto.TENSOR:
            attributes[one.name] = numpy_helper.to_array(one.t)
        elif one.type == AttributeProto.STRING:
            attributes[one.name] = one.s.decode()
        elif one.type == AttributeProto.STRINGS:
            attributes[one.name] = ",".join(text.decode() for text in one.strings)
        elif one.type in (AttributeProto.INT, AttributeProto.FLOAT):
            attributes[one.name] = onnx.helper.get_attribute_value(one)
        elif one.type in (AttributeProto.INTS, AttributeProto.FLOATS):
            attributes[one.name] = tuple(onnx.helper.get_attribute_value(one))
        else:
            raise ModelError(
                f"the native engine does not support {node.op_type} with a nested graph (node {name!r}, attribute {one.name!r}); "
                "use engine='onnxruntime', or export the model without control flow"
            )
    return attributes
