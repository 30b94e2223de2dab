"""The ONNX graph of a student of trees: codes of the inputs, one ensemble, and what the parent computes after its last layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tamis._base import ModelError
from tamis.bundle import Manifest
from tamis.bundle.model import graphs
from tamis.compress.graph import heads
from tamis.compress.trees.codes import Codes
from tamis.compress.trees.growth import LevelTree
from tamis.compress.trees.leaves import IntegerLeaves

TREES_OPSET = 3  # of ai.onnx.ml


@dataclass(frozen=True)
class Head:
    """Where trees take over: a tensor of the parent, the output that a function makes of it, and which function."""

    tensor: str
    output: str
    function: str  # Softmax, Sigmoid, or empty for the number itself
    outputs: tuple[str, ...]  # of the new model


def find_head(model: onnx.ModelProto, manifest: Manifest, *, score_only: bool = False) -> Head:
    """Return the logits of a parent's probabilities, or else its score."""
    if len(list(graphs(model.graph))) > 1:
        raise ModelError(
            f"{manifest.name} has branches (If, Loop), which trees cannot replace: export it without them"
        )
    names = tuple(value.name for value in model.graph.output)
    for output, operator, logits in () if score_only else heads(model):
        if _depends_only_on(model, names, logits):
            return Head(logits, output, operator, names)
    if manifest.score is None:
        raise ModelError(
            f"{manifest.name} has neither probabilities after a Softmax or Sigmoid nor a score, which trees could learn: pack it with --score"
        )
    return Head(manifest.score, manifest.score, "", (manifest.score,))


def _depends_only_on(model: onnx.ModelProto, outputs: Sequence[str], tensor: str) -> bool:
    """Return whether outputs can be computed from a tensor and constants."""
    return not {value.name for value in model.graph.input} & {
        name for node in _after(model, outputs, tensor) for name in node.input
    }


def _after(model: onnx.ModelProto, outputs: Sequence[str], tensor: str) -> list[onnx.NodeProto]:
    """Return the nodes between a tensor and outputs."""
    makers = {name: node for node in model.graph.node for name in node.output}
    wanted, kept, seen = list(outputs), set[int](), {tensor}
    while wanted:
        name = wanted.pop()
        if name in seen or name not in makers:
            continue
        seen.add(name)
        kept.add(id(makers[name]))
        wanted += [one for one in makers[name].input if one]
    return [node for node in model.graph.node if id(node) in kept]


def balanced(leaves: IntegerLeaves) -> IntegerLeaves:
    """Return leaves with the bias inside: trees whose lowest leaf is negative instead of zero need no bits more for it."""
    integers, bias = leaves.integers.copy(), leaves.bias.copy()
    for output in range(integers.shape[2]):
        for tree in range(len(integers)):
            most = int(integers[tree, :, output].max())
            half = (1 << most.bit_length()) // 2
            if bias[output] < 0 and half and half <= -bias[output]:
                integers[tree, :, output] -= half
                bias[output] += half
        integers[0, :, output] += bias[output]
        bias[output] = 0
    return IntegerLeaves(integers, bias, leaves.step)


def tree_model(
    parent: onnx.ModelProto, head: Head, codes: Codes, trees: Sequence[LevelTree], leaves: IntegerLeaves
) -> onnx.ModelProto:
    """Return the graph."""
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    def add(operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    inputs = [
        value
        for value in parent.graph.input
        if value.name not in {one.name for one in parent.graph.initializer}
    ]
    flat = [
        value.name
        if len(value.type.tensor_type.shape.dim) == 2
        else add("Flatten", [value.name], f"{value.name}/flat")
        for value in inputs
    ]
    row = flat[0] if len(flat) == 1 else add("Concat", flat, "trees/inputs", axis=1)
    scaled = add(
        "Mul", [row, constant("codes/scale", np.exp2(codes.fraction).astype(np.float32))], "codes/scaled"
    )
    floor = add("Floor", [scaled], "codes/floor")
    moved = add("Sub", [floor, constant("codes/offset", codes.offset.astype(np.float32))], "codes/moved")
    ends = [
        constant(f"codes/{name}", np.asarray(value, np.float32))
        for name, value in (("low", 0), ("high", 2**codes.bits - 1))
    ]
    limited = add("Clip", [moved, *ends], "codes")
    nodes.append(_ensemble(trees, leaves, limited, "trees/sum", head.function == "Softmax"))
    shape = _rank(parent, head)
    if shape == 1:
        add("Squeeze", ["trees/sum", constant("trees/axis", np.array([1], np.int64))], head.tensor)
    else:
        nodes[-1].output[0] = head.tensor
    after = _after(parent, head.outputs, head.tensor)
    used = {name for node in after for name in node.input}
    constants += [one for one in parent.graph.initializer if one.name in used]
    outputs = [value for value in parent.graph.output if value.name in head.outputs]
    graph = helper.make_graph([*nodes, *after], "trees", inputs, outputs, constants)
    opsets = [one for one in parent.opset_import if one.domain != "ai.onnx.ml"]
    return helper.make_model(
        graph,
        opset_imports=[*opsets, helper.make_opsetid("ai.onnx.ml", TREES_OPSET)],
        ir_version=parent.ir_version,
        producer_name="tamis",
    )


def _rank(parent: onnx.ModelProto, head: Head) -> int:
    """Return the number of axes of the tensor where trees take over."""
    if head.function == "Softmax":
        return 2
    shapes = {
        value.name: value.type.tensor_type.shape for value in (*parent.graph.output, *parent.graph.value_info)
    }
    shape = shapes.get(head.tensor, shapes.get(head.output))
    return len(shape.dim) if shape is not None else 1


def _ensemble(
    trees: Sequence[LevelTree], leaves: IntegerLeaves, source: str, result: str, reference: bool
) -> onnx.NodeProto:
    """Return the operator; questions that change nothing are left out, and a first class of reference has only zeros."""
    columns: dict[str, list[Any]] = {
        name: []
        for name in ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids")
    }
    targets: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    shift = int(reference)
    for number, (tree, table) in enumerate(zip(trees, leaves.integers, strict=True)):
        rows = _nodes(tree, table)
        for node, (feature, mode, value, yes, no, leaf) in enumerate(rows):
            for name, one in zip(columns, (number, node, feature, mode, value, yes, no), strict=True):
                columns[name].append(one)
            for output in np.flatnonzero(leaf):
                weight = float(leaf[output] * leaves.step)
                for name, one in zip(targets, (number, node, int(output) + shift, weight), strict=True):
                    targets[name].append(one)
    return helper.make_node(
        "TreeEnsembleRegressor",
        [source],
        [result],
        domain="ai.onnx.ml",
        n_targets=leaves.integers.shape[2] + shift,
        **{f"nodes_{name}": column for name, column in columns.items()},
        **{f"target_{name}": column for name, column in targets.items()},
    )


def _nodes(tree: LevelTree, table: np.ndarray) -> list[tuple[int, str, float, int, int, np.ndarray]]:
    """Return feature, mode, threshold, children and leaf of every node, without questions that change nothing."""
    rows: list[tuple[int, str, float, int, int, np.ndarray]] = []
    none = np.zeros(table.shape[1], np.int64)

    def grow(level: int, part: np.ndarray) -> int:
        """Append the nodes of some leaves, and return the number of the first."""
        number = len(rows)
        if (part == part[0]).all():
            rows.append((0, "LEAF", 0.0, 0, 0, part[0]))
            return number
        no, yes = part[: len(part) // 2], part[len(part) // 2 :]
        if np.array_equal(no, yes):
            return grow(level + 1, no)
        rows.append((0, "LEAF", 0.0, 0, 0, none))  # the place of the question, whose children follow
        below = grow(level + 1, yes), grow(level + 1, no)
        rows[number] = (int(tree.features[level]), "BRANCH_LEQ", float(tree.thresholds[level]), *below, none)
        return number

    grow(0, table)
    return rows


def used_features(trees: Sequence[LevelTree]) -> Mapping[str, int]:
    """Return how many different inputs and questions the trees have."""
    questions = {
        pair for tree in trees for pair in zip(tree.features.tolist(), tree.thresholds.tolist(), strict=True)
    }
    return {"inputs": len({feature for feature, _ in questions}), "questions": len(questions)}
