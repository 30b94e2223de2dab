"""Write the models and predictions in `tree_models/`, with the libraries themselves.

It was run once, by hand:

    pip install xgboost==3.2.0 lightgbm==4.7.0
    python tests/bundle/importers/make_tree_models.py

`cases.npz` has, for each model file, the rows `FILE/x` and what the library predicts for them, `FILE/y`. Among the rows are
NaN, zeros, the thresholds themselves, and the float32 numbers next to them. Files named `refused-*` have no predictions.
"""

from __future__ import annotations

import json
from pathlib import Path

import lightgbm as lgb
import numpy as np
import xgboost as xgb

FOLDER = Path(__file__).parent / "tree_models"
ROWS, TESTED = 240, 40
RNG = np.random.default_rng(0)
CASES: dict[str, np.ndarray] = {}


def table(columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows with missing values, one column of small integers, and a number to predict."""
    x = RNG.normal(size=(ROWS, columns)).astype(np.float32)
    if columns > 2:
        x[:, 2] = RNG.integers(0, 4, ROWS)
    truth = x[:, 0] + x[:, -1] ** 2 - 1 + 0.3 * RNG.normal(size=ROWS)
    x[RNG.random(x.shape) < 0.1] = np.nan
    return x, truth


def with_thresholds(x: np.ndarray, splits: list[tuple[int, float]]) -> np.ndarray:
    """Return rows in which some values are thresholds or their neighbours, and some are special."""
    rows = x[:TESTED].copy()
    for row, (feature, threshold) in enumerate(splits[: TESTED - 8]):
        value = np.float32(threshold)
        beside = np.nextafter(value, np.float32(np.inf)), np.nextafter(value, np.float32(-np.inf))
        rows[row, feature] = (value, *beside)[row % 3]
    rows[-4], rows[-3], rows[-2], rows[-1] = np.nan, 0.0, 1e-36, -1e-36
    return rows


def keep(name: str, rows: np.ndarray, predicted: np.ndarray) -> None:
    CASES[f"{name}/x"], CASES[f"{name}/y"] = rows, np.asarray(predicted, np.float64)


def xgboost_case(
    name: str, objective: str, x: np.ndarray, y: np.ndarray, rounds: int = 4, *, names: list[str] | None = None,
    early: bool = False, **parameters: object,
) -> None:  # fmt: skip
    data = xgb.DMatrix(x, y, feature_names=names)
    options = {"objective": objective, "max_depth": 3, "verbosity": 0, "seed": 1, **parameters}
    extra = {}
    if early:
        noise = RNG.random(ROWS) < 0.25
        other = xgb.DMatrix(x, np.where(noise, 1 - y, y), feature_names=names)
        extra = {"evals": [(other, "validation")], "early_stopping_rounds": 2, "verbose_eval": False}
    booster = xgb.train(options, data, rounds, **extra)
    booster.save_model(FOLDER / name)
    gradient = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]
    splits = [
        (feature, threshold)
        for tree in gradient.get("gbtree", gradient)["model"]["trees"]
        for left, feature, threshold in zip(
            tree["left_children"], tree["split_indices"], tree["split_conditions"], strict=True
        )
        if left >= 0
    ]
    rows = with_thresholds(x, splits)
    span = {"iteration_range": (0, booster.best_iteration + 1)} if early else {}
    keep(name, rows, booster.predict(xgb.DMatrix(rows, feature_names=names), **span))


def lightgbm_case(
    name: str, objective: str, x: np.ndarray, y: np.ndarray, rounds: int = 4, *, names: list[str] | str = "auto",
    **parameters: object,
) -> None:  # fmt: skip
    options = {
        "objective": objective,
        "num_leaves": 7,
        "min_data_in_leaf": 5,
        "verbose": -1,
        "seed": 1,
        **parameters,
    }
    booster = lgb.train(options, lgb.Dataset(x, y, feature_name=names), rounds)
    booster.save_model(FOLDER / name)
    splits, waiting = [], [tree["tree_structure"] for tree in booster.dump_model()["tree_info"]]
    while waiting:
        node = waiting.pop(0)
        if "split_feature" in node:
            if abs(node["threshold"]) < 1e38:
                splits.append((node["split_feature"], node["threshold"]))
            waiting += [node["left_child"], node["right_child"]]
    rows = with_thresholds(x, splits)
    keep(name, rows, booster.predict(rows))


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    x, truth = table(4)
    two, three, positive = (truth > 0).astype(int), np.digitize(truth, [-0.5, 0.5]), np.exp(truth / 3)
    x1, truth1 = table(1)
    both = np.stack([truth, -(truth**2)], axis=1)

    for objective in ("binary:logistic", "binary:logitraw", "binary:hinge", "reg:logistic"):
        xgboost_case(f"xgb-{objective.replace(':', '-')}.json", objective, x, two)
    for objective in ("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror"):
        xgboost_case(f"xgb-{objective.replace(':', '-')}.json", objective, x, truth)
    for objective in ("reg:squaredlogerror", "count:poisson", "reg:gamma", "reg:tweedie", "survival:cox"):
        xgboost_case(f"xgb-{objective.replace(':', '-')}.json", objective, x, positive)
    xgboost_case("xgb-softprob.json", "multi:softprob", x, three, 3, num_class=3)
    xgboost_case("xgb-base-score.json", "binary:logistic", x, two, base_score=0.9)
    xgboost_case("xgb-dart.json", "binary:logistic", x, two, 8, booster="dart", rate_drop=0.5)
    xgboost_case(
        "xgb-dart-multi.json", "multi:softprob", x, three, 3, booster="dart", rate_drop=0.5, num_class=3
    )
    xgboost_case("xgb-forest.json", "binary:logistic", x, two, 1, num_parallel_tree=6, subsample=0.6, eta=1)
    xgboost_case("xgb-one-tree.json", "reg:squarederror", x, truth, 1, max_depth=1)
    xgboost_case("xgb-no-split.json", "reg:squarederror", x, truth, 2, gamma=1e9)
    xgboost_case("xgb-one-variable.json", "binary:logistic", x1, (truth1 > 0).astype(int))
    xgboost_case("xgb-exact.json", "binary:logistic", x, two, tree_method="exact", gamma=1)
    xgboost_case("xgb-two-targets.json", "reg:squarederror", x, both)
    xgboost_case("xgb-early.json", "binary:logistic", x, two, 30, early=True, eta=1.0)
    xgboost_case("xgb-named.ubj", "binary:logistic", x, two, names=["pt", "eta", "n", "mass"])

    for objective in ("binary", "cross_entropy", "cross_entropy_lambda"):
        lightgbm_case(f"lgb-{objective}.txt", objective, x, two)
    for objective in ("regression", "regression_l1", "huber", "fair", "quantile"):
        lightgbm_case(f"lgb-{objective}.txt", objective, x, truth)
    for objective in ("mape", "poisson", "gamma", "tweedie"):
        lightgbm_case(f"lgb-{objective}.txt", objective, x, positive)
    lightgbm_case("lgb-sigmoid.txt", "binary", x, two, sigmoid=2.5)
    lightgbm_case("lgb-sqrt.txt", "regression", x, truth, reg_sqrt=True)
    lightgbm_case("lgb-multi.txt", "multiclass", x, three, num_class=3)
    lightgbm_case("lgb-ova.txt", "multiclassova", x, three, num_class=3, sigmoid=1.5)
    lightgbm_case("lgb-dart.txt", "binary", x, two, 8, boosting="dart", drop_rate=0.5)
    bagging = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}
    lightgbm_case("lgb-forest.txt", "binary", x, two, 5, **bagging)
    lightgbm_case("lgb-forest-multi.txt", "multiclass", x, three, 3, num_class=3, **bagging)
    lightgbm_case("lgb-one-tree.txt", "regression", x, truth, 1, num_leaves=2)
    lightgbm_case("lgb-no-split.txt", "regression", x, truth, 2, min_data_in_leaf=10_000)
    lightgbm_case("lgb-one-variable.txt", "binary", x1, (truth1 > 0).astype(int))
    lightgbm_case("lgb-no-missing.txt", "binary", np.nan_to_num(x, nan=0.5), two)
    lightgbm_case("lgb-ignore-missing.txt", "binary", x, two, use_missing=False)
    gaps = np.where(RNG.random(x.shape) < 0.2, 0, x).astype(np.float32)
    lightgbm_case("lgb-zero-missing.txt", "binary", gaps, two, zero_as_missing=True)
    lightgbm_case("lgb-named.txt", "binary", x, two, names=["pt", "eta", "n", "mass"])
    np.savez_compressed(FOLDER / "cases.npz", **CASES)

    category = RNG.integers(0, 8, ROWS)
    chosen = np.isin(category, [1, 4, 6]).astype(int)
    columns = np.stack([category, RNG.normal(size=ROWS)], axis=1)
    lgb.train(
        {"objective": "binary", "verbose": -1, "min_data_per_group": 5, "num_leaves": 4},
        lgb.Dataset(columns, chosen, categorical_feature=[0]),
        2,
    ).save_model(FOLDER / "refused-categories.txt")
    plain = np.nan_to_num(x)
    lgb.train(
        {"objective": "regression", "linear_tree": True, "verbose": -1, "num_leaves": 4},
        lgb.Dataset(plain, truth),
        2,
    ).save_model(FOLDER / "refused-linear.txt")
    tagged = xgb.DMatrix(columns, chosen, feature_types=["c", "q"], enable_categorical=True)
    xgb.train({"objective": "binary:logistic", "max_depth": 2, "max_cat_to_onehot": 1}, tagged, 2).save_model(
        FOLDER / "refused-categories.json"
    )
    xgb.train(
        {"multi_strategy": "multi_output_tree", "max_depth": 2, "tree_method": "hist"},
        xgb.DMatrix(x, both),
        2,
    ).save_model(FOLDER / "refused-vectors.json")
    xgb.train({"booster": "gblinear"}, xgb.DMatrix(plain, truth), 2).save_model(
        FOLDER / "refused-linear.json"
    )


if __name__ == "__main__":
    main()
