"""Hardware: alkaid's logic and the simulated Verilog give every bit of the emulation."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from tests.fixedpoint.conftest import NAMES, draw, make

from tamis.firmware.design import make_design
from tamis.firmware.emulator import Emulator
from tamis.firmware.lower import lower
from tamis.firmware.vectors import pack, unpack, words_of
from tamis.firmware.verify import compare, emulated, random_vectors
from tamis.fixedpoint import FixedGrid, live_elements

pytestmark = [
    pytest.mark.fpga,
    pytest.mark.skipif(shutil.which("verilator") is None, reason="verilator is not installed"),
]


def program_of(model):
    return Emulator(model, draw(model, 1)).graph.program


def check_logic(model, seed):
    program = program_of(model)
    vectors = random_vectors(make_design(program, "m", 200), 300, seed)
    live = np.concatenate([mask.ravel() for mask in live_elements(program)[: len(program.inputs)]])
    values = vectors[:, live]
    for logic in lower(program):
        values = logic.comb.predict(values)
    np.testing.assert_array_equal(values, emulated(program, vectors))


def test_logic_computes_the_bits(graph):
    check_logic(graph, seed=1)


@pytest.mark.parametrize("seed", [102, 109])
def test_the_larger_of_numbers_whose_order_is_known(seed):
    check_logic(make("residual", seed), seed)  # alkaid's own maximum is wrong here


def test_windows_that_hold_only_padding():
    check_logic(make("image", 100), seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_logic_of_other_weights(seed):
    for name in NAMES:
        check_logic(make(name, seed), seed)


@pytest.mark.parametrize(
    ("name", "clock"), [("dense", 10), pytest.param("residual", 1000, marks=pytest.mark.slow)]
)
def test_simulated_verilog_computes_the_bits(name, clock, tmp_path):
    program = program_of(make(name))
    design = make_design(program, name, clock)
    found = compare(program, design, design.sources, random_vectors(design, 500, seed=2), tmp_path)
    assert found.differing == 0, found.first
    assert design.latency == (2 if clock == 10 else pytest.approx(14, abs=8))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(NAMES) - {"dense", "residual"}))
def test_every_operator_in_verilog(name, tmp_path):
    program = program_of(make(name))
    design = make_design(program, name, 200)
    found = compare(program, design, design.sources, random_vectors(design, 2000, seed=3), tmp_path)
    assert found.differing == 0, found.first


def test_a_wrong_adder_is_found(tmp_path):
    program = program_of(make("dense"))
    design = make_design(program, "dense", 100)
    stage = next(name for name, text in design.sources.items() if "_stage" in name and ",0) op_" in text)
    broken = design.sources | {stage: design.sources[stage].replace(",0) op_", ",1) op_", 1)}  # subtracts
    found = compare(program, design, broken, random_vectors(design, 200, seed=4), tmp_path)
    assert found.differing > 0
    assert "instead of" in found.first


def test_words_of_ports():
    grid = FixedGrid(np.array([-4.0, 0, 0, -8.5]), np.array([3.5, 0, 255, 0]), np.array([1, 0, 0, 1]))
    values = np.array([[-4, 0, 255, -8.5], [3.5, 0, 0, 0], [-0.5, 0, 17, -0.5]])
    words = pack(values, grid)
    assert words.shape == (3, words_of(grid))
    np.testing.assert_array_equal(unpack(words, grid), values)
