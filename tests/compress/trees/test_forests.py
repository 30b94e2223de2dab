"""Trees of XGBoost, LightGBM and scikit-learn's converter as trees of integers: the same bits everywhere, the same answers on a grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import tamis
from tamis._base import DataError, ModelError, TargetNotMetError, UsageError
from tamis.bundle import pack
from tamis.compress import ForestOptions, quantise_trees
from tamis.firmware.emulator import Emulator

MODELS = Path(__file__).parents[2] / "bundle" / "importers" / "tree_models"
CASES = np.load(MODELS / "cases.npz")
NAMES = [
    "xgb-binary-logistic.json",
    "xgb-softprob.json",
    "xgb-exact.json",
    "lgb-multi.txt",
    "lgb-regression.txt",
]


def rows_of(name, *, step=None, seed=1):
    """Return rows like those of the training, or on a grid."""
    drawn = CASES[f"{name}/x"]
    rng = np.random.default_rng(seed)
    rows = rng.choice(drawn[np.isfinite(drawn).all(1)], 500) + rng.normal(size=(500, drawn.shape[1]))
    return (rows if step is None else np.rint(rows / step) * step).astype(np.float32)


@pytest.fixture
def parent_of(tmp_path):
    """Pack a library's file, and write rows beside it."""

    def make(name, rows):
        np.savez(tmp_path / "rows.npz", x=rows)
        return pack(MODELS / name, tmp_path / "parent.tamis", inputs={"x": rows}).bundle

    return make


def outputs(bundle, engine, rows):
    with tamis.open(bundle, engine=engine) as session:
        (values,) = session.run(x=rows).values()
    return values


@pytest.mark.parametrize("name", NAMES)
def test_every_engine_and_the_emulated_firmware_agree(name, parent_of, tmp_path):
    rows = rows_of(name)
    parent = parent_of(name, rows)
    made = quantise_trees(
        parent, tmp_path / "q.tamis", [str(tmp_path / "rows.npz")], ForestOptions(weights=10, inputs=10)
    )
    before = outputs(parent, "onnxruntime", rows)
    exact = outputs(made.bundle, "onnxruntime", rows)
    np.testing.assert_array_equal(outputs(made.bundle, "firmware", rows), exact)
    for engine in ("native", "torch", "reference"):
        np.testing.assert_allclose(outputs(made.bundle, engine, rows), exact, rtol=1e-6, atol=1e-7)
    near = np.abs(exact - before) < 0.02 * before.std()
    assert near.mean() > 0.9
    assert "## Trees" in (made.bundle.path / "CARD.md").read_text()
    assert made.bundle.manifest.parent.name == "parent"


def test_the_sums_are_integers(parent_of, tmp_path):
    name = "xgb-softprob.json"
    rows = rows_of(name)
    parent_of(name, rows)
    options = ForestOptions(weights=6, inputs=5)
    made = quantise_trees(
        tmp_path / "parent.tamis", tmp_path / "q.tamis", [str(tmp_path / "rows.npz")], options
    )
    emulator = Emulator(made.bundle.model, {"x": rows[:1]})
    (codes,) = (emulator.integers({"x": rows})[one.tensor] for one in emulator.graph.program.inputs)
    assert codes.min() == 0
    assert codes.max() == 2**5 - 1
    forest = next(node for node in made.bundle.model.graph.node if node.op_type == "TreeEnsembleRegressor")
    leaves = np.array(next(one.floats for one in forest.attribute if one.name == "target_weights"))
    multiples = leaves / made.facts["step"]
    np.testing.assert_array_equal(multiples, np.rint(multiples))
    assert 2**4 <= np.abs(multiples).max() < 2**5


@pytest.mark.parametrize("name", ["xgb-softprob.json", "lgb-multi.txt"])
def test_answers_about_values_on_a_grid_are_the_parents(name, parent_of, tmp_path):
    """A grid of a quarter needs no more bits than its values have, and every row reaches the parent's leaves."""
    rows = rows_of(name, step=0.25)
    parent = parent_of(name, rows)
    made = quantise_trees(
        parent, tmp_path / "q.tamis", [str(tmp_path / "rows.npz")], ForestOptions(weights=16, inputs=8)
    )
    assert made.facts["exact_inputs"] == made.facts["inputs"]
    scale = next(
        onnx.numpy_helper.to_array(one)
        for one in made.bundle.model.graph.initializer
        if one.name == "x/codes/scale"
    )
    assert scale.max() == 4
    np.testing.assert_allclose(
        outputs(made.bundle, "onnxruntime", rows), outputs(parent, "onnxruntime", rows), atol=2e-3
    )


def test_classifiers_of_scikit_learn_too(tmp_path):
    """As its converter writes them: probabilities of a random forest of two classes, which are sums of leaves."""
    node = onnx.helper.make_node(
        "TreeEnsembleClassifier",
        ["x"],
        ["label", "scores"],
        domain="ai.onnx.ml",
        nodes_treeids=[0, 0, 0, 1, 1, 1],
        nodes_nodeids=[0, 1, 2] * 2,
        nodes_featureids=[0, 0, 0, 1, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"] * 2,
        nodes_values=[0.3, 0.0, 0.0, -0.2, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 0] * 2,
        nodes_falsenodeids=[2, 0, 0] * 2,
        class_treeids=[0, 0, 1, 1],
        class_nodeids=[1, 2, 1, 2],
        class_ids=[0, 0, 0, 0],
        class_weights=[0.1, 0.4, 0.05, 0.45],
        classlabels_int64s=[0, 1],
        post_transform="NONE",
    )
    graph = onnx.helper.make_graph(
        [node],
        "forest",
        [onnx.helper.make_tensor_value_info("x", 1, ["N", 3])],
        [
            onnx.helper.make_tensor_value_info("label", onnx.TensorProto.INT64, ["N"]),
            onnx.helper.make_tensor_value_info("scores", 1, ["N", 2]),
        ],
    )
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("ai.onnx.ml", 3)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    rows = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    parent = pack(model, tmp_path / "forest.tamis", inputs={"x": rows}, score="scores:1").bundle
    np.savez(tmp_path / "rows.npz", x=rows)
    made = quantise_trees(parent, tmp_path / "q.tamis", [str(tmp_path / "rows.npz")])
    with tamis.open(made.bundle, engine="firmware") as session:
        found = session.run(x=rows)["scores"]
    with tamis.open(parent, engine="onnxruntime") as session:
        expected = session.run(x=rows)["scores"]
    assert (np.abs(found - expected) < 0.01).mean() > 0.97


def test_what_cannot_be_integers_is_one_sentence(parent_of, tmp_path):
    target, data = tmp_path / "q.tamis", [str(tmp_path / "rows.npz")]
    parent = parent_of("xgb-softprob.json", rows_of("xgb-softprob.json"))
    with pytest.raises(UsageError, match="inputs of trees have 20 bits; expected 2 to 16"):
        ForestOptions(inputs=20)
    with pytest.raises(TargetNotMetError, match="trees of integers do not meet the target"):
        quantise_trees(parent, target, data, ForestOptions(weights=2, inputs=2, target="agreement > 99.9%"))
    empty = pack(MODELS / "xgb-no-split.json", tmp_path / "empty.tamis").bundle
    with pytest.raises(ModelError, match="ask no questions"):
        quantise_trees(empty, target, data)
    assert not target.exists()


def test_missing_values_that_the_graph_makes_are_reported(parent_of, tmp_path):
    rows = rows_of("lgb-zero-missing.txt")
    rows[::7] = 0
    parent = parent_of("lgb-zero-missing.txt", rows)
    with pytest.raises(
        DataError, match=r"\d+ of \d+ rows have missing values \(NaN\), which integers have not"
    ):
        quantise_trees(parent, tmp_path / "q.tamis", [str(tmp_path / "rows.npz")])
