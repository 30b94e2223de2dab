"""XGBoost and LightGBM files give the libraries' own predictions; `make_tree_models.py` wrote both."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import onnx
import pytest

import tamis
from tamis._base import InputMismatchError, ModelError, VerificationError
from tamis.bundle import Bundle, Reference, pack
from tamis.bundle.importers import import_model, recognise
from tamis.bundle.importers.trees import float32_at_most
from tamis.bundle.importers.ubjson import parse_ubjson
from tamis.bundle.rewrite import expand_trees

FOLDER = Path(__file__).parent / "tree_models"
with np.load(FOLDER / "cases.npz") as archive:
    CASES = dict(archive)
NAMES = sorted(key.removesuffix("/x") for key in CASES if key.endswith("/x"))
FLOAT32 = 2e-6  # relative to the largest prediction: the libraries add up leaves in another order, XGBoost in float32


def predictions(model, rows):
    (values,) = Reference(model)({"x": rows}).values()
    return values


@pytest.mark.parametrize("name", NAMES)
def test_a_model_predicts_what_its_library_predicts(name):
    rows, expected = CASES[f"{name}/x"], CASES[f"{name}/y"]
    found = predictions(import_model(FOLDER / name).model, rows)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=FLOAT32 * np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_it_packs_and_onnxruntime_gives_the_same(name, tmp_path):
    rows, expected = CASES[f"{name}/x"], CASES[f"{name}/y"]
    bundle = pack(FOLDER / name, tmp_path / "m.tamis", inputs={"x": rows}).bundle
    assert len(bundle.golden.inputs["x"]) == len(
        rows
    )  # thresholds are compared without rounding: none is dropped
    assert bundle.manifest.nan == "model"
    with tamis.open(bundle, "onnxruntime") as session:
        (found,) = session.run(x=rows).values()
    np.testing.assert_allclose(found, expected, rtol=0, atol=FLOAT32 * np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_its_plain_operators_predict_the_same(name):
    """Trees that XGBoost has pruned leave nodes that no question leads to."""
    rows, expected = CASES[f"{name}/x"], CASES[f"{name}/y"]
    model = expand_trees(import_model(FOLDER / name).model)
    np.testing.assert_allclose(
        predictions(model, rows), expected, rtol=0, atol=FLOAT32 * np.abs(expected).max()
    )


def test_a_thousand_trees(tmp_path):
    document = json.loads((FOLDER / "xgb-binary-logistic.json").read_text())
    rows, few = CASES["xgb-binary-logistic.json/x"], CASES["xgb-binary-logistic.json/y"]
    learner = document["learner"]
    model = learner["gradient_booster"]["model"]
    for tree in model["trees"]:  # 250 copies with leaves of a 250th
        leaf = np.array(tree["left_children"]) < 0
        tree["split_conditions"] = np.where(
            leaf, np.divide(tree["split_conditions"], 250), tree["split_conditions"]
        ).tolist()
    model["trees"] *= 250
    model["tree_info"] *= 250
    model["iteration_indptr"] = list(range(1001))
    (tmp_path / "many.json").write_text(json.dumps(document))
    bundle = pack(tmp_path / "many.json", tmp_path / "m.tamis").bundle
    with tamis.open(bundle, "onnxruntime") as session:
        np.testing.assert_allclose(session.run(x=rows)["probability"], few, rtol=2e-5)


def test_names_of_variables_and_the_meaning_of_outputs(tmp_path):
    for name in ("xgb-named.ubj", "lgb-named.txt"):
        bundle = pack(FOLDER / name, tmp_path / "m.tamis").bundle
        (spec,) = bundle.manifest.signature.inputs
        assert (spec.name, spec.columns, spec.shape[1]) == ("x", ("pt", "eta", "n", "mass"), 4)
        assert bundle.manifest.score == "probability"
    assert import_model(FOLDER / "lgb-binary.txt").columns == {}  # Column_0, ... are not names
    outputs = {
        "xgb-softprob.json": "probabilities", "xgb-two-targets.json": "values", "lgb-multi.txt": "probabilities",
        "lgb-ova.txt": "probabilities", "lgb-regression.txt": "value", "xgb-binary-logitraw.json": "margin",
    }  # fmt: skip
    for name, output in outputs.items():
        assert [value.name for value in import_model(FOLDER / name).model.graph.output] == [output]


def test_parameters_are_thresholds_and_leaves(tmp_path):
    bundle = pack(FOLDER / "lgb-one-tree.txt", tmp_path / "m.tamis").bundle
    assert bundle.parameters == {"trees": 3}  # one threshold, two leaves


def test_early_stopping_uses_the_trees_up_to_the_best_iteration_and_says_so():
    (note,) = import_model(FOLDER / "xgb-early.json").notes
    assert "iterations are used, up to the best one, as XGBClassifier predicts" in note
    assert "Booster.predict uses all" in note


def test_inputs_are_drawn_on_both_sides_of_every_threshold(tmp_path):
    bundle = pack(FOLDER / "xgb-binary-logistic.json", tmp_path / "m.tamis").bundle
    rows = bundle.golden.inputs["x"]
    assert np.isnan(rows).any()
    assert len(np.unique(bundle.golden.outputs["probability"])) > 10


@pytest.mark.parametrize("engine", ["native", "openvino", "torch"])
@pytest.mark.parametrize(
    "name", ["xgb-binary-logistic.json", "lgb-binary.txt", "lgb-multi.txt", "lgb-no-split.txt"]
)
def test_engines_without_trees_descend_them_by_level(engine, name, tmp_path):
    if engine != "native":
        pytest.importorskip(engine)
    pack(FOLDER / name, tmp_path / "m.tamis")
    rows = CASES[f"{name}/x"]
    with tamis.open(tmp_path / "m.tamis", engine) as session:
        (found,) = session.run(x=rows).values()
    expected = CASES[f"{name}/y"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2 * FLOAT32 * np.abs(expected).max())


def test_a_changed_leaf_fails_the_gate(tmp_path):
    from tamis.bundle import write_bundle

    bundle = pack(FOLDER / "lgb-binary.txt", tmp_path / "m.tamis").bundle
    model = bundle.model
    (node,) = (node for node in model.graph.node if node.op_type == "TreeEnsembleRegressor")
    weights = next(attribute for attribute in node.attribute if attribute.name == "target_weights")
    weights.floats[0] += 0.5
    onnx.checker.check_model(model)
    changed = write_bundle(tmp_path / "c.tamis", bundle.manifest, model.SerializeToString(), bundle.golden)
    with pytest.raises(VerificationError, match="probability"):
        tamis.open(changed, "onnxruntime")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("refused-categories.txt", "splits on categories"),
        ("refused-categories.json", "splits on categories"),
        ("refused-linear.txt", "leaves are linear models"),
        ("refused-linear.json", "'gblinear' has no trees"),
        ("refused-vectors.json", "vectors in the leaves"),
    ],
)
def test_what_is_not_supported_is_refused_with_a_way_round(name, message):
    with pytest.raises(ModelError, match=message):
        import_model(FOLDER / name)


def damaged(tmp_path, name, change):
    document = json.loads((FOLDER / name).read_text())
    change(document["learner"])
    (tmp_path / "damaged.json").write_text(json.dumps(document))
    return tmp_path / "damaged.json"


def _tree(learner):
    return learner["gradient_booster"]["model"]["trees"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda learner: _tree(learner)["left_children"].__setitem__(1, 0), "tree 0 is damaged: node 0"),
        (lambda learner: _tree(learner)["left_children"].__setitem__(0, 99), "tree 0 is damaged: node 99"),
        (
            lambda learner: _tree(learner)["split_indices"].__setitem__(0, 7),
            "splits on variable 7, but the model has 4",
        ),
        (lambda learner: _tree(learner)["split_conditions"].pop(), "differ in length"),
        (lambda learner: learner.pop("objective"), "lacks 'objective'"),
        (
            lambda learner: learner["objective"].update(name="binary:logistik"),
            "did you mean 'binary:logistic'",
        ),
        (
            lambda learner: learner["gradient_booster"]["model"].update(trees=[], tree_info=[]),
            "train it first",
        ),
        (lambda learner: learner["attributes"].update(best_iteration="9"), "best iteration is 9"),
    ],
)
def test_damaged_xgboost_files_are_told(tmp_path, change, message):
    with pytest.raises(ModelError, match=message):
        import_model(damaged(tmp_path, "xgb-binary-logistic.json", change))


def test_damaged_lightgbm_files_are_told(tmp_path):
    text, file = (FOLDER / "lgb-binary.txt").read_text(), tmp_path / "m.txt"
    for changed, message in (
        (text[: len(text) // 3], "cut off"),
        (text.replace("leaf_value=", "leaf_values="), "lacks 'leaf_value'"),
        (text.replace("objective=binary", "objective=binry"), "did you mean 'binary'"),
        (text.replace("num_leaves=7", "num_leaves=8"), "7 leaf values for 8 leaves"),
        (text.replace("left_child=1", "left_child=0"), "tree 0 is damaged"),
    ):
        file.write_text(changed)
        with pytest.raises(ModelError, match=message):
            import_model(file)


def test_ubjson_says_the_same_as_json_and_damage_is_told(tmp_path):
    data = (FOLDER / "xgb-named.ubj").read_bytes()
    document = parse_ubjson(data, "m")
    assert document["learner"]["feature_names"] == ["pt", "eta", "n", "mass"]
    assert parse_ubjson(b"[$d#i\x02" + struct.pack(">2f", 0.5, -2), "m") == [0.5, -2]
    assert parse_ubjson(b"{i\x01aTi\x01b[ZFi\x05]}", "m") == {"a": True, "b": [None, False, 5]}
    assert parse_ubjson(b"{#i\x01i\x01aD" + struct.pack(">d", 0.1), "m") == {"a": 0.1}
    for damage in (
        data[:-200],
        data[:40] + b"\xff" + data[41:],
        b"[$d#l\x7f\xff\xff\xff",
        b"[" * 2000,
        b"[#" * 2000,  # a container as the length of a container
        data + b"rest",
    ):
        with pytest.raises(ModelError, match=r"UBJSON|after its end"):
            parse_ubjson(damage, "m")
    shutil.copy(FOLDER / "xgb-named.ubj", tmp_path / "model.bin")
    assert recognise(tmp_path / "model.bin") == "XGBoost"


def test_thresholds_are_rounded_so_that_every_float32_goes_the_same_way():
    rng = np.random.default_rng(0)
    thresholds = np.concatenate(
        [rng.normal(size=2000), [0.1, -0.1, 1e-35, 1e300, -1e300, np.inf, 2.0**-149 / 3]]
    )
    rounded = float32_at_most(thresholds)
    for towards in (np.inf, 0, -np.inf):
        with np.errstate(over="ignore", under="ignore"):
            x = np.nextafter(rounded, np.float32(towards))
        np.testing.assert_array_equal(x.astype(np.float64) <= thresholds, x <= rounded)
    np.testing.assert_array_equal(rounded.astype(np.float64) <= thresholds, np.ones(len(rounded), bool))


@pytest.mark.parametrize("name", ["dump.json", "list.json", "old.model", "m.cbm"])
def test_files_that_only_look_like_models_are_told(tmp_path, name):
    content = {
        "dump.json": b'{"name": "tree", "version": "v4"}',
        "list.json": b'[{"nodeid": 0}]',
        "old.model": b"binf\x00",
        "m.cbm": b"CBM1\x00",
    }[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match="save"):
        import_model(tmp_path / name)


def test_a_working_point_from_columns_of_the_variables_names(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tamis.engines import open as open_session
    from tamis.trigger import background_scores

    bundle = Bundle.open(pack(FOLDER / "lgb-named.txt", tmp_path / "m.tamis").bundle.path)
    rows = CASES["lgb-named.txt/x"]
    columns = dict(zip(("pt", "eta", "n", "mass"), rows.T, strict=True))
    pq.write_table(
        pa.table({name: columns[name] for name in ("mass", "n", "pt", "eta")}), tmp_path / "b.parquet"
    )
    with open_session(bundle, "onnxruntime") as session:
        scores = background_scores(session, [str(tmp_path / "b.parquet")])
        np.testing.assert_allclose(scores, CASES["lgb-named.txt/y"], rtol=1e-5)
        pq.write_table(
            pa.table({"pT": rows[:, 0]} | {n: columns[n] for n in ("mass", "n", "eta")}),
            tmp_path / "c.parquet",
        )
        with pytest.raises(InputMismatchError, match=r"column 'pt' of the input x.*did you mean 'pT'"):
            background_scores(session, [str(tmp_path / "c.parquet")])


def test_only_inputs_that_are_compared_keep_the_golden_events_at_thresholds(parse_model):
    from tamis.bundle.choose_golden import only_compares

    for name in ("lgb-zero-missing.txt", "xgb-softprob.json"):
        assert only_compares(import_model(FOLDER / name).model)
    scaled = import_model(FOLDER / "lgb-binary.txt").model
    scaled.graph.node.insert(0, onnx.helper.make_node("Add", ["x", "x"], ["double"]))
    scaled.graph.node[1].input[0] = "double"
    assert not only_compares(scaled)
    assert not only_compares(parse_model("m (float[N, 2] x) => (float[N, 2] y) { y = Abs (x) }"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("post_transform", "PROBIT", "TreeEnsembleRegressor: post_transform='PROBIT' not implemented"),
        ("nodes_modes", "BRANCH_XX", "TreeEnsembleRegressor: .*BRANCH_XX"),
    ],
)
def test_trees_that_the_reference_cannot_run_are_told_by_operator(name, value, message):
    model = import_model(FOLDER / "lgb-binary.txt").model
    (node,) = (node for node in model.graph.node if node.op_type == "TreeEnsembleRegressor")
    attribute = next(attribute for attribute in node.attribute if attribute.name == name)
    if name == "nodes_modes":
        attribute.strings[0] = value.encode()
    else:
        attribute.s = value.encode()
    with pytest.raises(ModelError, match=message):
        Reference(model)({"x": np.zeros((1, 4), np.float32)})
