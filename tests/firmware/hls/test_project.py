"""Projects of hls4ml: the compiled C simulation gives every bit of the emulation, or one sentence says what hls4ml lacks."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import numpy as np
import onnx
import pytest
from tests.conftest import parse
from tests.firmware.folded.conftest import make_gru
from tests.fixedpoint.conftest import GRAPHS, draw, make, quantise

from tamis._base import ModelError, VerificationError
from tamis.bundle import Bundle, pack
from tamis.firmware.hls import HlsRequest, export_hls4ml, project

pytest.importorskip("hls4ml")
pytestmark = [
    pytest.mark.fpga,
    pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed"),
]
FEW = HlsRequest(vectors=2000)

# What hls4ml has no layer for, and what the error says of it.
MISSING = {
    "branches": "Split",
    "sequence": "no layer for ReduceSum",
    "padded": "pads channels",
    "pooled": "",
    "trees BRANCH_LEQ": "decision trees",
}
EXPORTED = [name for name in GRAPHS if name not in MISSING or name == "pooled"]


def packed(model, name, folder) -> Bundle:
    onnx.save(model, folder / f"{name}.onnx")
    np.savez(folder / "x.npz", **draw(model, 32))
    pack(folder / f"{name}.onnx", folder / f"{name}.tamis", inputs=folder / "x.npz")
    return Bundle.open(folder / f"{name}.tamis")


def bundle_of(name, folder) -> Bundle:
    return packed(make(name), name.replace(" ", "-"), folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTED)
def test_the_c_simulation_gives_every_bit(name, tmp_path):
    record = export_hls4ml(bundle_of(name, tmp_path), tmp_path / "project", FEW)
    assert record.agreement.differing == 0
    assert record.agreement.random_vectors == 2000
    types = [kind for layer in record.layers for kind in layer.types.values()]
    assert all(re.fullmatch(r"ap_u?fixed<\d+,-?\d+(,AP_\w+,AP_\w+,0)?>", kind) for kind in types)


def test_recurrent_layers_are_refused(tmp_path):
    bundle = packed(make_gru(), "gru", tmp_path)
    with pytest.raises(
        ModelError, match=r"gru has a recurrent layer of 3 equal steps \(u\), for which hls4ml has no layer"
    ):
        export_hls4ml(bundle, tmp_path / "project", FEW)


@pytest.mark.slow
def test_the_folder_is_a_project_that_make_compares_again(tmp_path):
    out = tmp_path / "project"
    export_hls4ml(bundle_of("dense", tmp_path), out, FEW)
    done = subprocess.run(["make", "-C", out], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "32 events, 96 numbers, 0 differ" in done.stdout
    for name in (
        "build_prj.tcl",
        "project.tcl",
        "firmware/dense.cpp",
        "firmware/parameters.h",
        "tb_data/tb_input_features.dat",
    ):
        assert (out / name).is_file(), name
    config = (out / "hls4ml_config.yml").read_text()
    assert "ap_ufixed<6,3,AP_RND,AP_SAT,0>" in config
    assert str(tmp_path) not in config
    assert json.loads((out / "record.json").read_text())["kind"] == "hls4ml"
    readme = (out / "README.md").read_text()
    assert "vitis-run --mode hls" in readme
    assert "ap_fixed<8,4>" in readme
    weights = out / "firmware" / "weights" / "w2.h"  # a weight that differs has to be seen
    weights.write_text(re.sub(r"= \{[^,]*,", "= {3.5,", weights.read_text()))
    done = subprocess.run(["make", "-C", out], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "0 differ" not in done.stdout


@pytest.mark.slow
def test_a_project_that_differs_in_a_bit_is_not_written(tmp_path, monkeypatch):
    def wider(folder, rows):
        return real(folder, rows) + 2.0**-8 * (rows[:, :1] > 7)

    real = project.simulate
    monkeypatch.setattr(project, "simulate", wider)
    with pytest.raises(
        VerificationError, match=r"differs from the emulation in \d+ of 2032 vectors; the first: vector"
    ):
        export_hls4ml(bundle_of("softmax", tmp_path), tmp_path / "project", FEW)
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize("name", [name for name, reason in MISSING.items() if reason])
def test_what_hls4ml_lacks_is_named_with_its_layer(name, tmp_path):
    with pytest.raises(ModelError, match=MISSING[name]) as error:
        export_hls4ml(bundle_of(name, tmp_path), tmp_path / "project", FEW)
    assert "hls4ml cannot express the layer" in str(error.value)
    assert "tamis firmware" in str(error.value)
    assert not (tmp_path / "project").exists()


def test_limits_that_no_type_has_are_named(tmp_path):
    text = "m (float[N, 4] x) => (float[N, 4] y) {" + quantise("x", "q", fraction=2, low=-8, high=7)
    text += quantise("q", "y", fraction=1, low=-3, high=2, rounding="RND") + "}"
    with pytest.raises(
        ModelError, match="it limits to -3 and 2 steps, which is not the range of a fixed-point type"
    ):
        export_hls4ml(packed(parse(text), "clipped", tmp_path), tmp_path / "project", FEW)
