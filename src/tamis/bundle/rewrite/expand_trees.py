"""Decision trees as plain operators, for engines that have none of their own: every row descends all trees by one level at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET_MIN = 13  # from which ReduceSum takes its axes as an input
TREE_COMPARISONS = {b"BRANCH_LEQ": "LessOrEqual", b"BRANCH_LT": "Less"}


def expand_trees(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model without TreeEnsembleRegressor where its sums can be expressed; the model itself where there is nothing to do."""
    opset = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=1)
    found = [node for node in model.graph.node if node.op_type == "TreeEnsembleRegressor" and _is_plain(node)]
    if not found or opset < OPSET_MIN:
        return model
    expanded = onnx.ModelProto()
    expanded.CopyFrom(model)
    del expanded.graph.node[:]
    for number, node in enumerate(model.graph.node):
        if node in found:
            nodes, constants = _expanded(node, f"trees_{number}")
            expanded.graph.node.extend(nodes)
            expanded.graph.initializer.extend(constants)
        else:
            expanded.graph.node.append(node)
    return expanded


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


def _is_plain(node: onnx.NodeProto) -> bool:
    """Return whether a node adds its leaves, and asks the same kind of question everywhere."""
    attributes = _attributes(node)
    kinds = set(attributes["nodes_modes"]) - {b"LEAF"}
    return (
        attributes.get("aggregate_function", b"SUM") == b"SUM"
        and attributes.get("post_transform", b"NONE") == b"NONE"
        and len(kinds) <= 1
        and kinds <= set(TREE_COMPARISONS)
    )


def _expanded(node: onnx.NodeProto, name: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Return the nodes and constants that compute what an ensemble does."""
    attributes = _attributes(node)
    keys = list(zip(attributes["nodes_treeids"], attributes["nodes_nodeids"], strict=True))
    place = {key: number for number, key in enumerate(keys)}
    is_leaf = np.array([mode == b"LEAF" for mode in attributes["nodes_modes"]])
    own = np.arange(len(keys))
    yes, no = (
        np.where(
            is_leaf,
            own,
            [place.get((key[0], child), 0) for key, child in zip(keys, attributes[children], strict=True)],
        )
        for children in ("nodes_truenodeids", "nodes_falsenodeids")
    )
    feature = np.asarray(attributes["nodes_featureids"], np.int64)
    threshold = np.asarray(attributes["nodes_values"], np.float32)
    missing = np.asarray(attributes.get("nodes_missing_value_tracks_true") or np.zeros(len(keys)), np.float32)
    leaves = np.zeros((len(keys), attributes.get("n_targets", 1)), np.float32)
    targets = (attributes[f"target_{part}"] for part in ("treeids", "nodeids", "ids", "weights"))
    for tree, number, target, weight in zip(*targets, strict=True):
        leaves[place[tree, number], target] += np.float32(weight)
    _, roots = np.unique(
        [key[0] for key in keys], return_index=True
    )  # the first node of each; pruned nodes may remain

    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def constant(suffix: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(value, f"{name}/{suffix}"))
        return f"{name}/{suffix}"

    def add(operator: str, inputs: list[str], suffix: str, **options: object) -> str:
        nodes.append(helper.make_node(operator, inputs, [f"{name}/{suffix}"], **options))
        return f"{name}/{suffix}"

    tables: dict[str, np.ndarray] = {
        "feature": feature,
        "threshold": threshold,
        "yes": yes.astype(np.int64),
        "no": no.astype(np.int64),
        **({"missing": missing} if missing.any() else {}),
    }
    held: dict[str, str] = {}
    half = constant("half", np.array(0.5, np.float32)) if missing.any() else ""
    asked = next((mode for mode in attributes["nodes_modes"] if mode != b"LEAF"), b"BRANCH_LEQ")
    comparison, rows, at = TREE_COMPARISONS[asked], node.input[0], ""
    for level in range(_depth(yes, no, is_leaf, roots)):
        if level:
            held = held or {key: constant(key, table) for key, table in tables.items()}
            found = {key: add("Gather", [held[key], at], f"{key}_{level}", axis=0) for key in tables}
            value = add("GatherElements", [rows, found["feature"]], f"value_{level}", axis=1)
        else:  # all rows begin at the roots
            found = {key: constant(f"{key}_{level}", table[roots]) for key, table in tables.items()}
            value = add("Gather", [rows, found["feature"]], f"value_{level}", axis=1)
        answer = add(comparison, [value, found["threshold"]], f"answer_{level}")
        if missing.any():
            number = add("Equal", [value, value], f"number_{level}")
            goes = add("Greater", [found["missing"], half], f"goes_{level}")
            lost = add("And", [add("Not", [number], f"nan_{level}"), goes], f"lost_{level}")
            answer = add("Or", [answer, lost], f"either_{level}")
        at = add("Where", [answer, found["yes"], found["no"]], f"at_{level}")
    reached = add("Gather", [constant("leaves", leaves), at], "reached", axis=0)
    axes = constant("axes", np.array([1], np.int64))
    base = attributes.get("base_values")
    if base:
        total = add("ReduceSum", [reached, axes], "sum", keepdims=0)
        nodes.append(
            helper.make_node(
                "Add", [total, constant("base", np.asarray(base, np.float32))], list(node.output)
            )
        )
    else:
        nodes.append(helper.make_node("ReduceSum", [reached, axes], list(node.output), keepdims=0))
    return nodes, constants


def _depth(yes: np.ndarray, no: np.ndarray, is_leaf: np.ndarray, roots: np.ndarray) -> int:
    """Return the number of questions along the longest path, at least one."""
    level, depth = roots, 0
    while not is_leaf[level].all():
        level = np.unique(np.concatenate([yes[level], no[level]]))
        depth += 1
    return max(depth, 1)
