"""Ensembles of decision trees."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tamis.fixedpoint.operators.operands import Inexact, Operands
from tamis.fixedpoint.program import (
    Forest,
    Trees,
)


def _trees(operands: Operands) -> list[int]:
    """Translate TreeEnsembleRegressor; a comparison `<` on a grid is `<=` with the next smaller number."""
    attributes = operands.attributes
    if (
        attributes.get("aggregate_function", b"SUM") != b"SUM"
        or attributes.get("post_transform", b"NONE") != b"NONE"
    ):
        raise Inexact("it does not add its leaves")
    value = operands.value()
    fractions = operands.builder.range_of(value).fractions
    modes = [mode.decode() for mode in attributes["nodes_modes"]]
    keys = list(zip(attributes["nodes_treeids"], attributes["nodes_nodeids"], strict=True))
    inner = [index for index, mode in enumerate(modes) if mode != "LEAF"]
    leaves = [index for index, mode in enumerate(modes) if mode == "LEAF"]
    place = {keys[index]: number for number, index in enumerate(inner)}
    place |= {keys[index]: -1 - number for number, index in enumerate(leaves)}
    features, thresholds = np.zeros(len(inner), np.int64), np.zeros(len(inner))
    children = np.zeros((2, len(inner)), np.int64)
    for number, index in enumerate(inner):
        tree, feature = keys[index][0], attributes["nodes_featureids"][index]
        threshold = float(np.float32(attributes["nodes_values"][index]))
        step = np.ldexp(1.0, -int(fractions[feature]))
        yes, no = (place[tree, attributes[f"nodes_{name}nodeids"][index]] for name in ("true", "false"))
        if modes[index] in ("BRANCH_LT", "BRANCH_GTE"):
            threshold = np.ceil(threshold / step) * step - step
        elif modes[index] not in ("BRANCH_LEQ", "BRANCH_GT"):
            raise Inexact(f"it compares by {modes[index]}")
        if modes[index] in ("BRANCH_GT", "BRANCH_GTE"):
            yes, no = no, yes
        features[number], thresholds[number], children[:, number] = feature, threshold, (yes, no)
    weights = np.zeros((len(leaves), attributes.get("n_targets", 1)))
    targets = (attributes[f"target_{name}"] for name in ("treeids", "nodeids", "ids", "weights"))
    for tree, node, target, weight in zip(*targets, strict=True):
        weights[-1 - place[tree, node], target] += float(np.float32(weight))
    first = dict(reversed([(key[0], place[key]) for key in keys]))
    forest = Forest(features, thresholds, children[0], children[1], np.array(list(first.values())), weights)
    result = operands.step(Trees, [value], (weights.shape[1],), forest)
    if base := attributes.get("base_values"):
        result = operands.offset(result, np.asarray(base, np.float32))
    return [result]


FOREST_OPERATORS: dict[str, Callable[[Operands], list[int]]] = {
    "TreeEnsembleRegressor": _trees,
}
