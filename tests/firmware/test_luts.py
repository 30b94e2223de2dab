"""The estimate of LUTs: the structure that it rests on, and yosys on designs that nothing was fitted to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import parse
from tests.fixedpoint.conftest import INPUT, draw, make, make_trees, quantise

from tamis.firmware.design import estimate_layers, make_design
from tamis.firmware.emulator import Emulator
from tamis.firmware.synthesis import synthesise

pytestmark = pytest.mark.fpga
RECORD = Path(__file__).parents[2] / "benchmarks/records/lut-estimate.json"


def program_of(model):
    return Emulator(model, draw(model, 1)).graph.program


def with_weights(text, **weights):
    from onnx import numpy_helper

    model = parse(text)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.float32(array), name) for name, array in weights.items()
    )
    return model


def luts_of(text, **weights):
    return sum(one.lut for one in estimate_layers(program_of(with_weights(text, **weights)), 200).values())


def test_an_adder_takes_a_lut_where_both_operands_have_a_bit():
    pytest.importorskip("alkaid")
    text = "m (float[N, 2] x) => (float[N, 1] y) {" + INPUT + "y = MatMul (q, w) }"
    assert luts_of(text, w=[[1.0], [1.0]]) == 8
    assert luts_of(text, w=[[1.0], [8.0]]) == 8  # the low bits of the first pass
    assert luts_of(text, w=[[8.0], [-1.0]]) == 8  # subtracting lower bits is one chain, too
    assert luts_of(text, w=[[1.0], [0.0]]) == 0


def test_saturation_in_front_of_a_register_is_free():
    pytest.importorskip("alkaid")
    head = "m (float[N, 2] x) => (float[N, 2] y) {" + INPUT
    narrow = quantise("q", "h", fraction=4, low=-128, high=63, rounding="RND_CONV")
    assert luts_of(head + narrow + " y = Identity (h) }") == 0  # the register's own set input


@pytest.mark.parametrize("seed", [1, 2])
def test_the_estimates_of_layers_are_those_of_the_design(seed):
    pytest.importorskip("alkaid")
    program = program_of(make("image", seed))
    design = make_design(program, "m", 200)
    assert sum(one.lut for one in estimate_layers(program, 200).values()) == sum(
        layer.lut_estimate for layer in design.layers
    )


@pytest.mark.skipif(shutil.which("yosys") is None, reason="yosys is not installed")
@pytest.mark.parametrize(("name", "within"), [("dense", 0.1), ("trees", 0.15)])  # few LUTs of trees vary more
def test_yosys_counts_what_the_estimate_says(name, within, tmp_path):
    pytest.importorskip("alkaid")
    model = make_trees("BRANCH_LEQ", 5) if name == "trees" else make("dense", 3)
    design = make_design(program_of(model), "m", 200)
    estimate = sum(layer.lut_estimate for layer in design.layers)
    assert synthesise(design, tmp_path).lut == pytest.approx(estimate, rel=within)


@pytest.mark.skipif(shutil.which("yosys") is None, reason="yosys is not installed")
def test_a_difference_with_lower_bits_is_one_carry_chain(tmp_path):
    pytest.importorskip("alkaid")
    model = with_weights(
        "m (float[N, 2] x) => (float[N, 1] y) {" + INPUT + "y = MatMul (q, w) }", w=[[8.0], [-1.0]]
    )
    design = make_design(program_of(model), "m", 200)
    assert synthesise(design, tmp_path).lut <= 9  # 16 with alkaid's adder


def test_the_record_shows_ten_models_within_ten_per_cent():
    held_out = [row for row in json.loads(RECORD.read_text())["designs"] if row["part"] == "held out"]
    ratios = np.array([row["cells"]["lut"] / row["logic"] for row in held_out])
    assert (np.abs(ratios - 1) <= 0.1).sum() >= 12
    assert np.abs(ratios - 1).max() < 0.16  # small trees
