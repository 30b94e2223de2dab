"""`tamis count`: tables, JSON, and what it says about its estimates."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import onnx
import pytest
from tests.fixedpoint.conftest import draw, make

from tamis.bundle import pack


@pytest.fixture
def quantised(tmp_path):
    """A bundle of the graph `dense`."""
    model = make("dense")
    onnx.save(model, tmp_path / "dense.onnx")
    np.savez(tmp_path / "x.npz", **draw(model, 32))
    pack(tmp_path / "dense.onnx", tmp_path / "dense.tamis", inputs=tmp_path / "x.npz")
    return tmp_path / "dense.tamis"


def test_a_float_bundle(call):
    code, out, _ = call("count", "jet-tagger")
    assert code == 0
    assert "together" in out
    assert "Horowitz, ISSCC 2014" in out
    assert "LUT: an estimate" not in out


def test_json_adds_up(call, quantised):
    code, out, _ = call("count", quantised, "--json", "--quick")
    record = json.loads(out)
    assert code == 0
    assert record["kind"] == "count"
    for name in ("macs", "macs_nonzero", "ebops", "weights", "energy_pj", "lut"):
        assert record["together"][name] == pytest.approx(sum(layer[name] or 0 for layer in record["layers"]))
    assert "weights alone" in record["lut_source"]


def test_without_alkaid_the_estimate_is_rougher_and_says_so(call, quantised, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "alkaid" else find(name))
    code, out, _ = call("count", quantised)
    assert code == 0
    assert "pip install 'tamis[fpga]'" in out


@pytest.mark.fpga
def test_with_alkaid_the_estimate_is_that_of_firmware(call, quantised):
    pytest.importorskip("alkaid")
    from tamis.bundle import Bundle, rows_of
    from tamis.firmware.design import make_design
    from tamis.firmware.emulator import Emulator

    code, out, _ = call("count", quantised, "--json")
    bundle = Bundle.open(quantised)
    program = Emulator(bundle.model, rows_of(bundle.golden.inputs, slice(0, 1))).graph.program
    assert code == 0
    assert json.loads(out)["together"]["lut"] == sum(
        layer.lut_estimate for layer in make_design(program, "m", 240).layers
    )
