"""Nested graphs in place of the nodes that run them: branches whose condition is constant, and loops whose number of steps is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import AttributeProto, helper, numpy_helper

from tamis.native.inline import opset_of

GRAPH_ATTRIBUTES = (AttributeProto.GRAPH, AttributeProto.GRAPHS)
CONTROL_FLOW = ("If", "Loop", "Scan")
Constants = Mapping[str, np.ndarray]
PLAIN_SCAN = 9  # the opset since which a Scan has no batch axis
AXES_AS_INPUT = 13  # the opset since which the axes of Unsqueeze are an input


def is_decided(model: onnx.ModelProto, node: onnx.NodeProto, constants: Constants) -> bool:
    """Return whether what a node with nested graphs does is known: the branch of an `If`, the steps of a `Loop` or `Scan`."""
    if node.op_type == "If":
        return node.input[0] in constants
    if node.op_type == "Loop":
        trips, going = node.input[0], node.input[1] if len(node.input) > 1 else ""
        is_going = not going or (going in constants and bool(constants[going].all()))
        return trips in constants and is_going and _goes_on(_graph(node, "body"))
    return node.op_type == "Scan" and opset_of(model) >= PLAIN_SCAN


def unrolled(model: onnx.ModelProto, constants: Constants, values: Constants) -> onnx.ModelProto:
    """Return a model with the decided nodes replaced by what they run; PyTorch exports squeeze() as an `If`."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.node[:]
    for number, node in enumerate(model.graph.node):
        if not is_decided(model, node, constants):
            changed.graph.node.append(node)
        elif node.op_type == "If":
            _take_branch(changed.graph, node, constants)
        else:
            steps = _loop if node.op_type == "Loop" else _scan
            changed.graph.node.extend(
                steps(node, f"{node.op_type}_{number}", opset_of(model), constants, values)
            )
    return changed


def _graph(node: onnx.NodeProto, attribute: str) -> onnx.GraphProto:
    return next(one.g for one in node.attribute if one.name == attribute)


def _goes_on(body: onnx.GraphProto) -> bool:
    """Return whether the condition of a loop stays true: it is passed on, or a constant."""
    name, passed = body.output[0].name, body.input[1].name
    makers = {output: node for node in body.node for output in node.output}
    while name in makers and makers[name].op_type == "Identity":
        name = makers[name].input[0]
    if name == passed:
        return True
    for one in body.initializer:
        if one.name == name:
            return bool(numpy_helper.to_array(one).all())
    maker = makers.get(name)
    value = next((one.t for one in maker.attribute if one.name == "value"), None) if maker else None
    return value is not None and bool(numpy_helper.to_array(value).all())


def _take_branch(graph: onnx.GraphProto, node: onnx.NodeProto, constants: Constants) -> None:
    branch = _graph(node, "then_branch" if constants[node.input[0]].all() else "else_branch")
    graph.node.extend(branch.node)
    graph.initializer.extend(branch.initializer)
    for inner, outer in zip(branch.output, node.output, strict=True):
        graph.node.append(helper.make_node("Identity", [inner.name], [outer]))


def _loop(
    node: onnx.NodeProto, name: str, opset: int, constants: Constants, _: Constants
) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of all steps of a loop."""
    body, carried = _graph(node, "body"), list(node.input[2:])
    rows: list[list[str]] = [[] for _ in body.output[1 + len(carried) :]]
    yield _constant(f"{name}/going", np.array(True))
    for step in range(int(constants[node.input[0]].ravel()[0])):
        yield _constant(f"{name}/{step}", np.array(step, np.int64))
        yield from _step(body, f"{name}/{step}/", [f"{name}/{step}", f"{name}/going", *carried])
        results = [f"{name}/{step}/{one.name}" for one in body.output]
        carried = results[1 : 1 + len(carried)]
        for row, result in zip(rows, results[1 + len(carried) :], strict=True):
            row.append(result)
    yield from _finish(node, carried, rows, [0] * len(rows), opset)


def _scan(
    node: onnx.NodeProto, name: str, opset: int, _: Constants, values: Constants
) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of all steps of a scan; the reference engine, which gives the shapes, runs forward ones only."""
    body = _graph(node, "body")
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    count = attributes["num_scan_inputs"]
    carried, sequences = list(node.input[:-count]), node.input[-count:]
    rows: list[list[str]] = [[] for _ in body.output[len(carried) :]]
    axes = attributes.get("scan_input_axes", [0] * count)
    steps = values[sequences[0]].shape[axes[0]]
    for step in range(steps):
        prefix = f"{name}/{step}/"
        pieces = []
        yield _constant(f"{prefix}at", np.array(step, np.int64))
        for place, (sequence, axis) in enumerate(zip(sequences, axes, strict=True)):
            pieces.append(f"{prefix}x{place}")
            yield helper.make_node("Gather", [sequence, f"{prefix}at"], [pieces[-1]], axis=axis)
        yield from _step(body, prefix, [*carried, *pieces])
        results = [f"{prefix}{one.name}" for one in body.output]
        carried = results[: len(carried)]
        for row, result in zip(rows, results[len(carried) :], strict=True):
            row.append(result)
    yield from _finish(node, carried, rows, attributes.get("scan_output_axes", [0] * len(rows)), opset)


def _constant(name: str, value: np.ndarray) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))


def _step(body: onnx.GraphProto, prefix: str, inputs: list[str]) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of one step, with names of their own."""
    names = dict(zip((one.name for one in body.input), inputs, strict=True))
    for one in body.initializer:
        names[one.name] = f"{prefix}{one.name}"
        yield helper.make_node("Constant", [], [names[one.name]], value=one)
    names |= {output: f"{prefix}{output}" for node in body.node for output in node.output if output}
    for node in body.node:
        yield _renamed(node, names)
    made = {output for node in body.node for output in node.output}
    for result in body.output:  # an input, or a tensor from outside, that is passed on
        if result.name not in made:
            yield helper.make_node(
                "Identity", [names.get(result.name, result.name)], [f"{prefix}{result.name}"]
            )


def _renamed(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """Return a node that reads and writes other names, also in its own nested graphs."""
    changed = onnx.NodeProto()
    changed.CopyFrom(node)
    for group in (changed.input, changed.output):
        group[:] = [names.get(name, name) for name in group]
    for attribute in changed.attribute:
        if attribute.type in GRAPH_ATTRIBUTES:
            for graph in (attribute.g, *attribute.graphs):
                inner = [_renamed(one, names) for one in graph.node]
                del graph.node[:]
                graph.node.extend(inner)
                for one in graph.output:
                    one.name = names.get(one.name, one.name)
    return changed


def _finish(
    node: onnx.NodeProto, carried: list[str], rows: list[list[str]], axes: list[int], opset: int
) -> Iterator[onnx.NodeProto]:
    """Yield the nodes that define the outputs: the last states, and the rows of all steps side by side."""
    for last, output in zip(carried, node.output, strict=False):
        if output:
            yield helper.make_node("Identity", [last], [output])
    for row, axis, output in zip(rows, axes, node.output[len(carried) :], strict=False):
        if not output:
            continue
        inputs, attributes = [f"{output}/axis"], {}
        if opset < AXES_AS_INPUT:
            inputs, attributes = [], {"axes": [axis]}
        else:
            yield _constant(inputs[0], np.array([axis], np.int64))
        for name in row:
            yield helper.make_node("Unsqueeze", [name, *inputs], [f"{output}/{name}"], **attributes)
        yield helper.make_node("Concat", [f"{output}/{name}" for name in row], [output], axis=axis)
