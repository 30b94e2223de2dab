"""Decision trees of the reference engine in NumPy: the ONNX project's implementation takes seconds for a thousand trees."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx.reference.ops.aionnxml.op_tree_ensemble_regressor import (
    TreeEnsembleRegressor as _SlowTreeEnsembleRegressor,
)

COMPARISONS = {
    "BRANCH_LEQ": np.less_equal,
    "BRANCH_LT": np.less,
    "BRANCH_GTE": np.greater_equal,
    "BRANCH_GT": np.greater,
    "BRANCH_EQ": np.equal,
    "BRANCH_NEQ": np.not_equal,
}


class TreeEnsembleRegressor(_SlowTreeEnsembleRegressor):
    """ONNX TreeEnsembleRegressor for sums and averages; all rows and trees descend by one level at a time."""

    def _run(self, X, **options):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN003, ANN202, N803
        modes = np.asarray(options["nodes_modes"])
        comparison = set(modes.tolist()) - {"LEAF"}
        linear = options.get("aggregate_function") in (None, "SUM", "AVERAGE")
        plain = options.get("post_transform") in (None, "NONE")
        if not (linear and plain and len(comparison) <= 1 and comparison <= COMPARISONS.keys()):
            try:
                return super()._run(X, **options)
            except (NotImplementedError, ValueError) as error:
                raise NotImplementedError(f"TreeEnsembleRegressor: {error}") from error
        rows = np.asarray(X, np.float64)
        roots, children, leaf_values = _layout(options, modes)
        features, values = np.asarray(options["nodes_featureids"]), _floats(options, "nodes_values")
        tracks = np.asarray(options.get("nodes_missing_value_tracks_true") or np.zeros(len(modes)), bool)
        compare = COMPARISONS[comparison.pop()] if comparison else np.less
        inner = modes != "LEAF"
        node = np.broadcast_to(roots, (len(rows), len(roots))).copy()
        while (active := inner[node]).any():
            x = np.take_along_axis(rows, features[node], axis=1)
            true = np.where(np.isnan(x), tracks[node], compare(x, values[node]))
            node = np.where(active, children[true.astype(int), node], node)
        total: np.ndarray = leaf_values[node].sum(axis=1)
        if options.get("aggregate_function") == "AVERAGE":
            total /= len(roots)
        base = _floats(options, "base_values")
        dtype = X.dtype if X.dtype.kind == "f" else np.float32
        return ((total + base if base.size else total).astype(dtype),)


def _layout(options: dict[str, Any], modes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the root of each tree, the false and true child of each node, and the values of each node for all targets."""
    trees, numbers = options["nodes_treeids"], options["nodes_nodeids"]
    place = {key: index for index, key in enumerate(zip(trees, numbers, strict=True))}
    children = np.zeros((2, len(modes)), np.int64)
    for index in np.flatnonzero(modes != "LEAF"):
        tree = trees[index]
        children[0, index] = place[tree, options["nodes_falsenodeids"][index]]
        children[1, index] = place[tree, options["nodes_truenodeids"][index]]
    _, roots = np.unique(trees, return_index=True)  # the first node of each tree
    values = np.zeros((len(modes), options.get("n_targets") or 1))
    leaves = [place[key] for key in zip(options["target_treeids"], options["target_nodeids"], strict=True)]
    where = np.array(leaves), np.asarray(options["target_ids"])
    np.add.at(values, where, _floats(options, "target_weights"))
    return roots, children, values


def _floats(options: dict[str, Any], name: str) -> np.ndarray:
    """Return numbers that are given as float32 or, in models of doubles, as a tensor."""
    if options.get(f"{name}_as_tensor") is not None:
        return np.asarray(options[f"{name}_as_tensor"], np.float64)
    return np.asarray(options.get(name) or (), np.float32).astype(np.float64)
