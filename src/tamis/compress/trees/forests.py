"""The decision trees of a graph as arrays: thresholds by input, leaves, and what is added to their sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tamis._base import ModelError
from tamis.bundle.model import TREE_OPERATORS

EXCLUDING = {"BRANCH_LT", "BRANCH_GTE"}  # that separate x < t from the rest; the others separate x <= t
ORDERED = EXCLUDING | {"BRANCH_LEQ", "BRANCH_GT"}


def holds_trees(model: onnx.ModelProto) -> bool:
    """Return whether a graph has decision trees."""
    return any(node.op_type in TREE_OPERATORS for node in model.graph.node)


@dataclass(frozen=True)
class ForestNode:
    """A node of a graph that adds leaves of trees, and the constant that follows it."""

    place: int  # among the nodes of the graph
    node: onnx.NodeProto
    source: str
    attributes: Mapping[str, Any]
    base: str | None  # the name of the constant that the next node adds

    @property
    def features(self) -> np.ndarray:
        """The input that each question is about."""
        return np.array(self.attributes["nodes_featureids"])[self.questions]

    @property
    def thresholds(self) -> np.ndarray:
        """The threshold of each question."""
        return np.array(self.attributes["nodes_values"], np.float64)[self.questions]

    @property
    def questions(self) -> np.ndarray:
        """Where the questions are among the nodes of the trees."""
        return np.flatnonzero([mode != b"LEAF" for mode in self.attributes["nodes_modes"]])

    @property
    def leaves(self) -> np.ndarray:
        """The leaves."""
        return np.array(self.attributes["target_weights"], np.float64)

    @property
    def trees(self) -> int:
        """The number of trees."""
        return len(set(self.attributes["nodes_treeids"]))


def find_forests(model: onnx.ModelProto, name: str) -> list[ForestNode]:
    """Return the forests of a graph; raises ModelError where one does what sums of integers cannot."""
    arrays = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    uses = Counter(name for node in model.graph.node for name in node.input)
    found = []
    for place, node in enumerate(model.graph.node):
        if node.op_type not in TREE_OPERATORS:
            continue
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        modes = {mode.decode() for mode in attributes.get("nodes_modes", ())} - {"LEAF"}
        if (
            node.op_type != "TreeEnsembleRegressor"
            or not modes <= ORDERED
            or "nodes_values" not in attributes
            or attributes.get("aggregate_function", b"SUM") != b"SUM"
            or attributes.get("post_transform", b"NONE") != b"NONE"
        ):
            raise ModelError(
                f"the trees {node.name or node.output[0]!r} of {name} ({node.op_type}) are not sums of leaves behind questions of size, which is what "
                "can be quantised: export a regressor or a classifier with raw scores"
            )
        readers = [other for other in model.graph.node if node.output[0] in other.input]
        base = None
        if len(readers) == 1 and readers[0].op_type == "Add":
            base = next((one for one in readers[0].input if one in arrays and uses[one] == 1), None)
        found.append(ForestNode(place, node, node.input[0], attributes, base))
    if not any(len(forest.questions) for forest in found):
        raise ModelError(f"the trees of {name} ask no questions, so there is nothing to quantise")
    return found
