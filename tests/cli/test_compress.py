"""`tamis compress` on the command line: tables, JSON, the bundle, and one sentence for every error."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tamis.bundle import Bundle


@pytest.fixture
def rows(tmp_path):
    x = np.random.default_rng(0).normal(size=(400, 12)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    return tmp_path / "x.npz"


def test_one_command_makes_a_verified_cheaper_bundle(call, bundle_of, rows, tmp_path):
    parent, target = bundle_of("dense").path, tmp_path / "small.tamis"
    options = ("--weights", 6, "--prune", 0.5, "--epochs", 3, "--batch", 64, "--threads", 1)
    code, out, err = call(
        "compress", parent, "--data", rows, "-o", target, *options, "--target", "error < 50%"
    )
    assert code == 0, err
    assert "weights, of up to 6 bits" in out
    assert "error" in out
    assert [line.split(":")[0] for line in err.splitlines()] == ["epoch 1", "epoch 2", "epoch 3"]
    assert Bundle.open(target).manifest.parent.name == Bundle.open(parent).name
    assert (tmp_path / "small.tamis.training" / "metrics.json").is_file()
    code, out, err = call("verify", target, "--engine", "onnxruntime,native")
    assert code == 0, err
    assert (
        f"compressed from {Bundle.open(parent).name} (version 1), model.onnx " in call("inspect", target)[1]
    )


def test_json_has_figures_and_layers(call, bundle_of, rows, tmp_path):
    target = tmp_path / "small.tamis"
    code, out, err = call(
        "compress", bundle_of("dense").path, "--data", rows, "-o", target, "--epochs", 0, "--json"
    )
    assert code == 0, err
    facts = json.loads(out)["compression"]
    assert facts["figures"]["error"]["low"] <= facts["figures"]["error"]["value"]
    assert [layer["weights"] for layer in facts["layers"]] == [96, 8]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (
            ("--target", "error < 0.0001%"),
            11,
            "no model meets the target error < 0.0001%, so no bundle was written; the nearest has error",
        ),
        (("--target", "error"), 2, "not of the form QUANTITY < NUMBER"),
        (("--target", "auc > 0.9"), 2, "needs labels"),
        (("--per", "weight"), 2, "give --cost ebops or lut as well"),
    ],
)
def test_what_is_not_possible_is_one_sentence(call, bundle_of, rows, tmp_path, options, code, message):
    target = tmp_path / "small.tamis"
    found, _, err = call(
        "compress", bundle_of("dense").path, "--data", rows, "-o", target, "--epochs", 0, *options
    )
    assert found == code
    assert message in err.strip().splitlines()[-1]
    assert not target.exists()


def test_a_model_that_cannot_be_compressed_names_the_operator(call, bundle_of, tmp_path):
    code, _, err = call("compress", bundle_of("conv1d").path, "--data", "x.npz", "-o", tmp_path / "s.tamis")
    assert code == 6
    assert "reads the result of LeakyRelu" in err
    code, _, err = call("compress", "nothing", "--data", "x.npz", "-o", tmp_path / "s.tamis")
    assert code == 5


def test_a_front_is_a_folder_of_models_with_a_page(call, bundle_of, rows, tmp_path):
    front = tmp_path / "front"
    options = ("--epochs", 4, "--points", 2, "--batch", 64, "--target", "error < 90%")
    code, out, err = call(
        "compress", bundle_of("dense").path, "--data", rows, "--pareto", *options, "-o", front
    )
    assert code == 0, err
    assert "target met" in out
    assert f"look at {front / 'index.html'}" in " ".join(out.split())
    assert (front / "index.html").is_file()
    assert len(list(front.glob("*.tamis"))) == 2


def test_points_belong_to_a_front(call, bundle_of, rows, tmp_path):
    code, _, err = call(
        "compress", bundle_of("dense").path, "--data", rows, "--points", 3, "-o", tmp_path / "x"
    )
    assert code == 2
    assert "give --pareto as well" in err


def test_trees_of_other_libraries_become_integers(call, tmp_path):
    models = Path(__file__).parents[1] / "bundle" / "importers" / "tree_models"
    x = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x=x)
    assert call("pack", models / "xgb-softprob.json", "-o", tmp_path / "trees.tamis")[0] == 0
    target = tmp_path / "q.tamis"
    words = ("compress", tmp_path / "trees.tamis", "--data", tmp_path / "rows.npz", "-o", target)
    code, _, err = call(*words, "--prune", "0.5")
    assert code == 2
    assert "--prune has no meaning for trees" in err
    code, out, err = call(*words, "--inputs", "9")
    assert code == 0, err
    assert "9 trees of" in out
    assert Bundle.open(target).manifest.training["trees"]["options"]["input_bits"] == 9
