"""Equal steps of a recurrent layer are found, and one cell computes them all, bit for bit."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from tests.firmware.folded.conftest import make_gru, program, program_of

from tamis.firmware.folded import make_folded_design, steps_in_turn
from tamis.firmware.folded.repeats import Repeat, find_repeats
from tamis.firmware.verify import compare, random_vectors
from tamis.fixedpoint.program import Linear

CLOCK = 240


@pytest.fixture(scope="module")
def gru():
    return program_of(make_gru(steps=4, features=2, units=3))


def with_other_weights(program, step):
    """Return the program with a weight changed in one step of the recurrent layer."""
    products = [
        index for index, one in enumerate(program.steps) if isinstance(one, Linear) and one.layer == "u"
    ]
    steps = list(program.steps)
    one = steps[products[step]]
    steps[products[step]] = replace(one, matrix=one.matrix + np.eye(*one.matrix.shape))
    return replace(program, steps=tuple(steps))


def test_equal_steps_are_found(gru):
    (repeat,) = find_repeats(gru)
    assert repeat.count == 4
    products = [
        index for index, step in enumerate(gru.steps) if isinstance(step, Linear) and step.layer == "u"
    ]
    assert np.diff(products).tolist() == [repeat.period] * 3


def test_a_step_with_other_weights_is_none_of_them(gru):
    assert find_repeats(with_other_weights(gru, 0))[0].count == 3
    assert find_repeats(with_other_weights(gru, 3))[0].count == 3
    assert find_repeats(with_other_weights(gru, 1))[0].count == 2


@pytest.mark.parametrize("name", ["dense", "image"])
def test_layers_without_a_state_do_not_repeat(name):
    assert find_repeats(program(name)) == []


def test_runs_are_cut_into_pieces_of_about_one_length():
    assert Repeat(10, 7, 5).pieces(2) == [Repeat(10, 7, 1), Repeat(17, 7, 2), Repeat(31, 7, 2)]
    assert Repeat(10, 7, 5).pieces(9) == [Repeat(10, 7, 5)]


def cells(design):
    return [name for name in design.sources if name.endswith("_cell.v")]


def test_what_one_cell_would_cost_is_what_it_costs(gru):
    pytest.importorskip("alkaid")
    (turns,) = steps_in_turn(gru, CLOCK)
    assert (turns.layer, turns.steps) == ("u", 4)
    design = make_folded_design(gru, "gru", CLOCK, turns.interval)
    assert cells(design) == ["u_steps_cell.v"]
    layer = next(one for one in design.layers if one.name == "u_steps")
    assert layer.lut_estimate == pytest.approx(
        turns.luts, rel=0.3
    )  # formats of what the cell reads are not known before
    assert "4 steps, one after the other through one cell" in design.sources["u_steps.v"]


@pytest.mark.fpga
@pytest.mark.skipif(shutil.which("verilator") is None, reason="verilator is not installed")
@pytest.mark.parametrize(("share", "expected"), [(1.0, 1), pytest.param(0.6, 2, marks=pytest.mark.slow), pytest.param(8.0, 1, marks=pytest.mark.slow)])  # fmt: skip
def test_one_cell_gives_the_bits_of_all_steps(gru, share, expected, tmp_path):
    interval = round(steps_in_turn(gru, CLOCK)[0].interval * share)
    design = make_folded_design(gru, "gru", CLOCK, interval)
    assert len(cells(design)) == expected
    found = compare(gru, design, design.sources, random_vectors(design, 500, seed=1), tmp_path)
    assert found.differing == 0, found.first
