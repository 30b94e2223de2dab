"""`tamis compress --student trees` on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tamis.bundle import Bundle


@pytest.fixture
def rows(tmp_path):
    x = np.random.default_rng(0).normal(size=(600, 12)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    return tmp_path / "x.npz"


def test_one_command_makes_trees(call, bundle_of, rows, tmp_path):
    parent, target = bundle_of("dense").path, tmp_path / "bdt.tamis"
    options = ("--student", "trees", "--size", "4,3", "--weights", 4, "--inputs", 5, "--epochs", 2)
    code, out, err = call("compress", parent, "--data", rows, "-o", target, *options)
    assert code == 0, err
    assert "4 trees of 3 levels, " in out
    assert Bundle.open(target).manifest.parent.name == Bundle.open(parent).name
    code, out, err = call("verify", target, "--engine", "onnxruntime,firmware")
    assert code == 0, err
    code, out, err = call("compress", parent, "--data", rows, "-o", tmp_path / "j.tamis", *options, "--json")
    assert code == 0, err
    assert json.loads(out)["trees"]["options"]["leaf_bits"] == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--prune", 0.5),
            "--prune has no meaning for trees: --size, --weights (bits of a leaf) and --inputs decide",
        ),
        (
            ("--distil", "log-score"),
            "trees learn probabilities, or with --distil score the score, not 'log-score'",
        ),
        (("--size", "8"), "the size of a student of trees is 8; expected the number of trees"),
    ],
)
def test_a_wrong_call_is_one_sentence(call, bundle_of, rows, tmp_path, options, message):
    target = tmp_path / "bdt.tamis"
    code, _, err = call(
        "compress", bundle_of("dense").path, "--data", rows, "-o", target, "--student", "trees", *options
    )
    assert code == 2
    assert message in err
    assert not target.exists()
