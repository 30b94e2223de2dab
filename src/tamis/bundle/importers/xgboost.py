"""XGBoost models, saved as JSON or UBJSON, to ONNX."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tamis._base import ModelError
from tamis.bundle.importers.trees import BoostedTrees, Link, Tree, categories_error, link_of
from tamis.bundle.importers.ubjson import parse_ubjson

# Objective: how the sum becomes the output, and the name of the output; see XGBoost's `PredTransform`.
XGBOOST_OBJECTIVES: Mapping[str, tuple[Link, str]] = {
    "binary:logistic": ("sigmoid", "probability"),
    "binary:logitraw": ("identity", "margin"),
    "binary:hinge": ("sign", "label"),
    "multi:softprob": ("softmax", "probabilities"),
    "multi:softmax": ("softmax", "probabilities"),
    "reg:logistic": ("sigmoid", "value"),
    "count:poisson": ("exp", "value"),
    "reg:gamma": ("exp", "value"),
    "reg:tweedie": ("exp", "value"),
    "survival:cox": ("exp", "hazard"),
    "survival:aft": ("exp", "time"),
    **dict.fromkeys(
        (
            "reg:linear",
            "reg:squarederror",
            "reg:squaredlogerror",
            "reg:pseudohubererror",
            "reg:absoluteerror",
            "reg:quantileerror",
        ),
        ("identity", "value"),
    ),
    **dict.fromkeys(("rank:pairwise", "rank:ndcg", "rank:map"), ("identity", "rank_score")),
}
LOGIT_BASE = ("binary:logistic", "reg:logistic")  # the stored base score is a probability
LOG_BASE = ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft")


def read_xgboost(path: Path) -> BoostedTrees:
    """Return the trees of a model that `Booster.save_model` or `XGBClassifier.save_model` wrote."""
    data = path.read_bytes()
    if data[:2] == b"{L":
        document = parse_ubjson(data, str(path))
    else:
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{path} is not readable JSON ({error}); save the model again") from error
    try:
        return _model(document["learner"], str(path))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else f"is damaged ({error})"
        raise ModelError(
            f"{path} is not a complete XGBoost model: it {what}; save it with booster.save_model"
        ) from error


def _model(learner: dict[str, Any], place: str) -> BoostedTrees:
    booster = learner["gradient_booster"]
    if booster["name"] not in ("gbtree", "dart"):
        raise ModelError(f"{place}: the booster {booster['name']!r} has no trees; train with gbtree or dart")
    objective = learner["objective"]["name"]
    link, output = link_of(objective, XGBOOST_OBJECTIVES, place)
    parameters = learner["learner_model_param"]
    targets = max(1, int(parameters["num_class"]), int(parameters.get("num_target", 1)))
    features = int(parameters["num_feature"])
    model = (booster["gbtree"] if booster["name"] == "dart" else booster)["model"]
    weights = booster.get("weight_drop", [1.0] * len(model["trees"]))
    used, notes = _trees_used(learner, model, targets, place)
    trees = [
        _tree(tree, int(target), float(weight), place)
        for tree, target, weight in zip(model["trees"], model["tree_info"], weights, strict=True)
    ][:used]
    if not trees:
        raise ModelError(f"{place} has no trees: train it first")
    if objective == "multi:softmax":
        notes.append("multi:softmax predicts a class; the output is the probability of each class instead")
    names = tuple(learner.get("feature_names") or ())
    return BoostedTrees(
        trees=trees,
        comparison="BRANCH_LT",
        features=features,
        base=_base(str(parameters["base_score"]), objective, targets),
        link=link,
        output=output if targets == 1 or link == "softmax" else f"{output}s",
        names=names if len(names) == features else (),
        notes=tuple(notes),
    )


def _trees_used(
    learner: dict[str, Any], model: dict[str, Any], targets: int, place: str
) -> tuple[int, list[str]]:
    """Return the number of trees up to the best iteration of early stopping, and a note if it is not all of them."""
    total = len(model["trees"])
    best = (learner.get("attributes") or {}).get("best_iteration")
    if best is None:
        return total, []
    rounds = int(best) + 1
    bounds = model.get("iteration_indptr") or range(
        0, total + 1, max(1, targets * int(model["gbtree_model_param"]["num_parallel_tree"]))
    )
    if not 0 < rounds < len(bounds):
        raise ModelError(f"{place}: the best iteration is {best}, but there are {len(bounds) - 1} iterations")
    used = int(bounds[rounds])
    note = (
        f"early stopping: {rounds} of {len(bounds) - 1} iterations are used, up to the best one, as XGBClassifier predicts; "
        "Booster.predict uses all (for that, call booster.set_attr(best_iteration=None) before saving)"
    )
    return used, [note] if used < total else []


def _tree(tree: dict[str, Any], target: int, weight: float, place: str) -> Tree:
    if int(tree["tree_param"].get("size_leaf_vector", 1)) > 1:
        raise ModelError(
            f"{place}: its trees have vectors in the leaves (multi_output_tree); train with multi_strategy='one_output_per_tree'"
        )
    if any(tree.get("split_type") or ()):
        raise categories_error(place, "enable_categorical")
    left = np.asarray(tree["left_children"], np.int64)
    conditions = np.asarray(tree["split_conditions"], np.float64).astype(np.float32)
    arrays = {
        "feature": np.asarray(tree["split_indices"], np.int64),
        "right": np.asarray(tree["right_children"], np.int64),
        "missing_left": np.asarray(tree["default_left"], bool),
    }
    if any(len(array) != len(left) for array in (conditions, *arrays.values())) or not len(left):
        raise ValueError(f"the arrays of tree {tree.get('id')} differ in length")
    return Tree(
        threshold=conditions, left=left, value=conditions * np.float32(weight), target=target, **arrays
    )


def _base(text: str, objective: str, targets: int) -> np.ndarray:
    """Return the base score as it is added to the sum of the leaves."""
    values = [float(part) for part in text.strip("[] ").split(",")]
    if objective in LOGIT_BASE:
        values = [math.log(value / (1 - value)) for value in values]
    elif objective in LOG_BASE:
        values = [math.log(value) for value in values]
    return np.broadcast_to(np.array(values), targets).copy()
