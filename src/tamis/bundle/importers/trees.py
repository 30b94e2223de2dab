"""Boosted decision trees as an ONNX graph: one TreeEnsembleRegressor, and the function from its sum to the output.

Inputs are float32. A threshold is stored as the float32 that splits all float32 values as the library's own threshold does, so
that every row reaches the same leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tamis._base import ModelError, did_you_mean

ZERO_AS_MISSING = 1e-35  # LightGBM's kZeroThreshold: smaller values count as zero
SAMPLE_ROWS = 256
MISSING_SHARE = 0.05  # of the values in sample rows

# From the sum of the leaves to the output.
Link = Literal["identity", "sigmoid", "softmax", "exp", "sign", "softplus", "signed square"]


@dataclass(frozen=True)
class Tree:
    """One tree as arrays over its nodes; node 0 is the root, and a leaf has the child -1."""

    feature: np.ndarray
    threshold: np.ndarray  # float32
    left: np.ndarray  # taken where the comparison is true
    right: np.ndarray
    missing_left: np.ndarray  # whether NaN goes left
    value: np.ndarray  # of the leaves
    target: int = 0  # the output column that its leaves are added to

    def check(self, number: int, features: int, place: str) -> None:
        """Check that every node is reached at most once and every feature exists, so that no row can loop."""
        seen, waiting, count = set(), [0], len(self.left)
        while waiting:
            node = waiting.pop()
            if not 0 <= node < count or node in seen:
                raise ModelError(f"{place}: tree {number} is damaged: node {node} is not a child of one node")
            seen.add(node)
            if self.left[node] < 0:
                continue
            if not 0 <= self.feature[node] < features:
                raise ModelError(
                    f"{place}: tree {number} splits on variable {self.feature[node]}, but the model has {features}"
                )
            waiting += [int(self.left[node]), int(self.right[node])]


@dataclass(frozen=True)
class BoostedTrees:
    """The trees of a model, and how their sum becomes the output."""

    trees: Sequence[Tree]
    comparison: Literal["BRANCH_LT", "BRANCH_LEQ"]
    features: int
    base: np.ndarray  # added to the sum, one number per target
    link: Link
    output: str
    slope: float = 1.0  # of the sigmoid
    divide: float = 1.0  # of the sum
    names: tuple[str, ...] = ()  # of the features
    zero_is_missing: tuple[int, ...] = ()  # features in which zero counts as missing
    notes: tuple[str, ...] = ()


def link_of(objective: str, known: Mapping[str, tuple[Link, str]], place: str) -> tuple[Link, str]:
    """Return how the sum becomes the output for an objective, and the name of the output."""
    if objective not in known:
        hint = did_you_mean(objective, known)
        raise ModelError(
            f"{place}: the objective {objective!r} is not supported; {hint}".rstrip("; ")
            + "; pack an ONNX model of onnxmltools instead"
        )
    return known[objective]


def categories_error(place: str, option: str) -> ModelError:
    """Return the error for splits on categories, which the `option` of the library allows."""
    return ModelError(
        f"{place}: it splits on categories ({option}), which is not supported; encode them as numbers, one column for each category"
    )


class _Nodes:
    """The nodes and constants of a graph that is being built."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        """Add a node and return its output."""
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: np.ndarray | np.generic) -> str:
        """Add a constant and return its name."""
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def to_onnx(model: BoostedTrees, place: str) -> onnx.ModelProto:
    """Return the ONNX model: `x` (rows, features) in, probabilities or values out."""
    for number, tree in enumerate(model.trees):
        tree.check(number, model.features, place)
    targets, graph, value = len(model.base), _Nodes(), "x"
    if model.zero_is_missing:
        mask = np.zeros(model.features, bool)
        mask[list(model.zero_is_missing)] = True
        size = graph.add("Abs", ["x"], "size")
        limit = graph.constant("zero_limit", np.float32(ZERO_AS_MISSING))
        zero = graph.add("LessOrEqual", [size, limit], "zero")
        gap = graph.add("And", [zero, graph.constant("zero_is_missing", mask)], "gap")
        value = graph.add("Where", [gap, graph.constant("missing", np.float32(np.nan)), "x"], "filled")
    graph.nodes.append(_ensemble(model, value, "leaves", targets))
    value = "leaves"
    if model.divide != 1:
        value = graph.add("Div", [value, graph.constant("count", np.float32(model.divide))], "mean")
    if model.base.any():
        base = graph.constant("base", model.base.astype(np.float32))
        value = graph.add("Add", [value, base], "sum_and_base")
    wide = targets > 1
    if not wide:
        value = graph.add("Squeeze", [value, graph.constant("axis", np.array([1], np.int64))], "row_sum")
    _apply_link(graph, model, value)
    graph.nodes[-1].output[0] = model.output
    shape: list[str | int] = ["N", targets] if wide else ["N"]
    proto = helper.make_graph(
        graph.nodes,
        "trees",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", model.features])],
        [helper.make_tensor_value_info(model.output, TensorProto.FLOAT, shape)],
        graph.constants,
    )
    return helper.make_model(
        proto,
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)],
        ir_version=8,
        producer_name="tamis",
    )


def _apply_link(graph: _Nodes, model: BoostedTrees, value: str) -> None:
    """Add the nodes from the sum to the output; none for the identity."""
    if model.link == "sigmoid":
        if model.slope != 1:
            value = graph.add("Mul", [value, graph.constant("slope", np.float32(model.slope))], "scaled")
        graph.add("Sigmoid", [value], "result")
    elif model.link == "softmax":
        graph.add("Softmax", [value], "result", axis=1)
    elif model.link == "exp":
        graph.add("Exp", [value], "result")
    elif model.link == "sign":
        positive = graph.add("Greater", [value, graph.constant("nothing", np.float32(0))], "positive")
        graph.add("Cast", [positive], "result", to=TensorProto.FLOAT)
    elif model.link == "softplus":
        graph.add("Softplus", [value], "result")
    elif model.link == "signed square":
        graph.add("Mul", [value, graph.add("Abs", [value], "magnitude")], "result")


def _ensemble(model: BoostedTrees, source: str, result: str, targets: int) -> onnx.NodeProto:
    """Return the operator that adds up the leaves of all trees."""
    sizes = [len(tree.left) for tree in model.trees]

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(tree, name) for tree in model.trees])

    number = np.repeat(np.arange(len(sizes)), sizes)
    within = np.concatenate([np.arange(size) for size in sizes])
    leaf = joined("left") < 0
    targets_of_trees = np.repeat([tree.target for tree in model.trees], sizes)
    return helper.make_node(
        "TreeEnsembleRegressor",
        [source],
        [result],
        domain="ai.onnx.ml",
        n_targets=targets,
        aggregate_function="SUM",
        post_transform="NONE",
        nodes_treeids=number.tolist(),
        nodes_nodeids=within.tolist(),
        nodes_featureids=np.where(leaf, 0, joined("feature")).tolist(),
        nodes_modes=np.where(leaf, "LEAF", model.comparison).tolist(),
        nodes_values=np.where(leaf, 0, joined("threshold")).astype(np.float32).tolist(),
        nodes_truenodeids=np.where(leaf, 0, joined("left")).tolist(),
        nodes_falsenodeids=np.where(leaf, 0, joined("right")).tolist(),
        nodes_missing_value_tracks_true=np.where(leaf, 0, joined("missing_left")).astype(int).tolist(),
        target_treeids=number[leaf].tolist(),
        target_nodeids=within[leaf].tolist(),
        target_ids=targets_of_trees[leaf].tolist(),
        target_weights=joined("value")[leaf].astype(np.float32).tolist(),
    )


def sample_rows(model: BoostedTrees, seed: int = 0) -> np.ndarray:
    """Draw rows whose values lie between the thresholds of the trees, so that all branches are taken; some are missing."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((SAMPLE_ROWS, model.features), np.float32)
    for feature in range(model.features):
        found = [tree.threshold[(tree.left >= 0) & (tree.feature == feature)] for tree in model.trees]
        edges = np.unique(np.concatenate(found).astype(np.float64)) if found else np.zeros(0)
        edges = edges[np.abs(edges) < np.finfo(np.float32).max / 4]
        if edges.size:
            reach = max(1.0, edges[-1] - edges[0]) / 2
            edges = np.concatenate([[edges[0] - reach], edges, [edges[-1] + reach]])
            place = rng.integers(0, len(edges) - 1, SAMPLE_ROWS)
            rows[:, feature] = (edges[place] + edges[place + 1]) / 2
    rows[rng.random(rows.shape) < MISSING_SHARE] = np.nan
    return rows


def float32_at_most(values: np.ndarray) -> np.ndarray:
    """Return the largest float32 not above each float64: for a float32 x, x <= value and x <= result are the same."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    above = rounded.astype(np.float64) > values
    rounded[above] = np.nextafter(rounded[above], np.float32(-np.inf))
    return rounded
