"""`tamis export --to hls4ml` on the command line: the folder, the record, and one sentence for every error."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.fixedpoint.conftest import draw, make

from tamis.bundle import pack

needs_hls4ml = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")


@pytest.fixture
def packed(tmp_path):
    """Return a function that packs a quantised graph."""

    def function(name):
        target = tmp_path / f"{name.split()[0]}.tamis"
        onnx.save(make(name), target.with_suffix(".onnx"))
        np.savez(tmp_path / "x.npz", **draw(make(name), 32))
        pack(target.with_suffix(".onnx"), target, inputs=tmp_path / "x.npz")
        return target

    return function


@pytest.mark.slow
@pytest.mark.fpga
@needs_hls4ml
def test_one_command_writes_a_project_that_agrees_bit_by_bit(call, packed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("hls4ml")
    out = Path("project")  # relative, as users write it
    options = ("--to", "hls4ml", "-o", out, "--vectors", 500)
    code, text, err = call("export", packed("dense"), *options, "--clock", "320MHz", "--json")
    assert code == 0, err
    record = json.loads(text)
    assert record["kind"] == "hls4ml"
    assert record["agreement"]["random_vectors"] == 500
    assert [layer["class_name"] for layer in record["layers"]] == ["Input", "Dense", "Activation", "Dense"]
    assert "set clock_period 3.125" in (out / "project.tcl").read_text()
    code, _, err = call("export", tmp_path / "dense.tamis", *options)
    assert code == 2
    assert "exists already: choose another folder, or remove it" in err


def test_a_model_that_hls4ml_cannot_express(call, packed, tmp_path):
    code, _, err = call("export", packed("trees BRANCH_LEQ"), "--to", "hls4ml", "-o", tmp_path / "project")
    assert code != 0
    assert (
        "hls4ml cannot express the layer inputs: it has no layer for decision trees, of which conifer makes HLS"
        in err
    )
    assert not (tmp_path / "project").exists()


def test_without_hls4ml_the_error_names_the_extra(call, packed, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "hls4ml", None)
    code, _, err = call("export", packed("dense"), "--to", "hls4ml", "-o", tmp_path / "project")
    assert code != 0
    assert "pip install 'tamis[hls4ml]'" in err
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--to", "hls4ml", "--dims", "n=3"),
            "--dims is for --to c; an hls4ml project has the sizes of the golden events",
        ),
        (("--to", "hls4ml", "--verify"), "--verify is for --to triton; an hls4ml project is always compared"),
        (("--to", "c", "--part", "xcku115"), "--part is for --to hls4ml; other targets are no hardware"),
        (("--to", "hls4ml", "--clock", "fast"), "--clock 'fast' is not a clock"),
    ],
)
def test_a_wrong_call_is_one_sentence(call, packed, tmp_path, options, message):
    code, _, err = call("export", packed("dense"), *options, "-o", tmp_path / "out")
    assert code == 2
    assert message in err
