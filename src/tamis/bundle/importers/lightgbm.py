"""LightGBM models, saved as text, to ONNX."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tamis._base import ModelError
from tamis.bundle.importers.trees import (
    ZERO_AS_MISSING,
    BoostedTrees,
    Link,
    Tree,
    categories_error,
    float32_at_most,
    link_of,
)

# Objective: how the sum becomes the output, and the name of the output; see LightGBM's `ConvertOutput`.
LIGHTGBM_OBJECTIVES: Mapping[str, tuple[Link, str]] = {
    "binary": ("sigmoid", "probability"),
    "cross_entropy": ("sigmoid", "probability"),
    "cross_entropy_lambda": ("softplus", "value"),
    "multiclass": ("softmax", "probabilities"),
    "multiclassova": ("sigmoid", "probabilities"),
    "poisson": ("exp", "value"),
    "gamma": ("exp", "value"),
    "tweedie": ("exp", "value"),
    "lambdarank": ("identity", "rank_score"),
    "rank_xendcg": ("identity", "rank_score"),
    **dict.fromkeys(
        ("regression", "regression_l1", "huber", "fair", "quantile", "mape", "custom"), ("identity", "value")
    ),
}
CATEGORICAL, DEFAULT_LEFT = 1, 2  # bits of a decision type
MISSING_NONE, MISSING_ZERO, MISSING_NAN = 0, 1, 2  # its bits 2 and 3


def read_lightgbm(path: Path) -> BoostedTrees:
    """Return the trees of a model that `Booster.save_model` wrote."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if "\nend of trees" not in text:
        raise ModelError(f"{path} is cut off: it has no line 'end of trees'; save the model again")
    head, *blocks = re.split(r"^Tree=\d+$", text.split("\nend of trees")[0], flags=re.MULTILINE)
    try:
        return _model(_fields(head), [_fields(block) for block in blocks], str(path))
    except (KeyError, IndexError, ValueError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else f"is damaged ({error})"
        raise ModelError(f"{path} is not a complete LightGBM model: it {what}; save it again") from error


def _fields(block: str) -> dict[str, str]:
    return {
        name: value for name, _, value in (line.partition("=") for line in block.splitlines() if line.strip())
    }


def _model(head: dict[str, str], blocks: list[dict[str, str]], place: str) -> BoostedTrees:
    if not blocks:
        raise ModelError(f"{place} has no trees: train it first")
    targets = int(head["num_tree_per_iteration"])
    features = int(head["max_feature_idx"]) + 1
    objective, *options = head.get("objective", "custom").split()
    link, output = link_of(objective, LIGHTGBM_OBJECTIVES, place)
    if "sqrt" in options:
        link = "signed square"
    slopes = (option.removeprefix("sigmoid:") for option in options if option.startswith("sigmoid:"))
    slope = float(next(slopes, 1.0))
    zero, nan = set[int](), set[int]()  # features whose zeros, and whose NaN, count as missing
    trees = [_tree(block, number, number % targets, zero, nan, place) for number, block in enumerate(blocks)]
    if zero & nan:
        raise ModelError(
            f"{place}: zero is missing in some trees and a number in others (variables {sorted(zero & nan)}), as after continued "
            "training with another zero_as_missing; train in one piece"
        )
    names = tuple(head.get("feature_names", "").split())
    generated = names == tuple(f"Column_{number}" for number in range(features))
    return BoostedTrees(
        trees=trees,
        comparison="BRANCH_LEQ",
        features=features,
        base=np.zeros(targets),
        link=link,
        output=output if targets == 1 or output == "probabilities" else f"{output}s",
        slope=slope,
        divide=len(blocks) // targets if "average_output" in head else 1.0,
        names=names if len(names) == features and not generated else (),
        zero_is_missing=tuple(sorted(zero)),
    )


def _tree(block: dict[str, str], number: int, target: int, zero: set[int], nan: set[int], place: str) -> Tree:
    """Return a tree, its inner nodes before its leaves; add the features to `zero` and `nan` by what is missing in them."""
    if block.get("is_linear", "0").strip() == "1":
        raise ModelError(f"{place}: its leaves are linear models (linear_tree), which is not supported")
    inner, value = int(block["num_leaves"]) - 1, _numbers(block["leaf_value"])
    if len(value) != inner + 1:
        raise ValueError(f"tree {number} has {len(value)} leaf values for {inner + 1} leaves")
    leaves = np.full(inner + 1, -1)
    if not inner:
        nothing = np.zeros(1)
        return Tree(nothing.astype(int), nothing, leaves, leaves, nothing > 0, value, target)
    kind = _numbers(block["decision_type"]).astype(np.int64)
    if (kind & CATEGORICAL).any():
        raise categories_error(place, "categorical_feature")
    feature, threshold = _numbers(block["split_feature"]).astype(np.int64), _numbers(block["threshold"])
    left, right = (_numbers(block[name]).astype(np.int64) for name in ("left_child", "right_child"))
    if {len(kind), len(feature), len(threshold), len(left), len(right)} != {inner}:
        raise ValueError(f"the arrays of tree {number} differ in length")
    missing = kind >> 2 & 3
    zero.update(feature[missing == MISSING_ZERO].tolist())
    nan.update(feature[missing == MISSING_NAN].tolist())
    # Without missing values in training, LightGBM reads NaN as zero.
    missing_left = np.where(missing == MISSING_NONE, threshold >= 0, (kind & DEFAULT_LEFT) > 0)

    def children(child: np.ndarray) -> np.ndarray:
        """Return the places of children; a negative number ~k is leaf k, which comes after the inner nodes."""
        return np.concatenate([np.where(child < 0, inner + ~child, child), leaves])

    pad = np.zeros(inner + 1)
    return Tree(
        feature=np.concatenate([feature, pad.astype(np.int64)]),
        threshold=np.concatenate([_threshold(threshold), pad.astype(np.float32)]),
        left=children(left),
        right=children(right),
        missing_left=np.concatenate([missing_left, pad > 0]),
        value=np.concatenate([np.zeros(inner), value]),
        target=target,
    )


def _threshold(values: np.ndarray) -> np.ndarray:
    """Return thresholds that split float32 numbers as LightGBM does, which reads those up to 1e-35 as zero."""
    limit = np.float32(ZERO_AS_MISSING)
    rounded = float32_at_most(values)
    rounded[(values >= 0) & (values < limit)] = limit
    rounded[(values < 0) & (values >= -limit)] = np.nextafter(-limit, np.float32(-np.inf))
    return rounded


def _numbers(text: str) -> np.ndarray:
    return np.array([float(part) for part in text.split()])
