"""`tamis compress --distil` on the command line."""

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


def test_one_command_makes_a_student(call, bundle_of, rows, tmp_path):
    parent, target = bundle_of("dense").path, tmp_path / "student.tamis"
    options = ("--distil", "score", "--student", "dense", "--size", "8,4", "--epochs", 3, "--batch", 64)
    code, out, err = call("compress", parent, "--data", rows, "-o", target, *options)
    assert code == 0, err
    assert "correlation(ranks)" in out
    assert "dense student of size 8,4; " in out
    assert [line.split(":")[0] for line in err.splitlines() if line.startswith("epoch")] == [
        "epoch 1", "epoch 2", "epoch 3",
    ]  # fmt: skip
    assert (tmp_path / "student.tamis.training" / "dense-8-4" / "metrics.json").is_file()
    assert Bundle.open(target).manifest.parent.name == Bundle.open(parent).name
    code, out, err = call("verify", target, "--engine", "onnxruntime,native")
    assert code == 0, err


def test_json_has_figures_and_costs(call, bundle_of, rows, tmp_path):
    options = ("--distil", "score", "--size", "8", "--epochs", 1, "--json")
    code, out, err = call(
        "compress", bundle_of("dense").path, "--data", rows, "-o", tmp_path / "s.tamis", *options
    )
    assert code == 0, err
    facts = json.loads(out)["distillation"]
    assert facts["multiplications"] == 12 * 8 + 8
    assert facts["figures"]["correlation"]["low"] <= facts["figures"]["correlation"]["value"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--distil", "score", "--weights", 8),
            "--weights has no meaning here: --distil trains a float model",
        ),
        (("--size", "8,4"), "--size has no meaning here: give --distil as well"),
        (("--distil", "score", "--size", "big"), "'big' is not of the form 64,16"),
        (("--distil", "energy"), "nothing to distil that is called 'energy'"),
    ],
)
def test_a_wrong_call_is_one_sentence(call, bundle_of, rows, tmp_path, options, message):
    target = tmp_path / "student.tamis"
    code, _, err = call("compress", bundle_of("dense").path, "--data", rows, "-o", target, *options)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not target.exists()
