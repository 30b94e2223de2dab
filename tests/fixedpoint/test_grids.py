"""Ranges: they hold every value that emulation computes, and say how many bits it needs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixedpoint.conftest import draw, make

from tamis.firmware.emulator import Emulator
from tamis.fixedpoint import FixedGrid, fraction_bits, grids, live_elements
from tamis.fixedpoint.emulate import FixedPointArray, Integers


def test_every_value_is_on_its_grid(graph):
    arrays = draw(graph, 200)
    emulator = Emulator(graph, draw(graph, 1))
    program = emulator.graph.program
    integers = emulator.integers(arrays)
    inputs = [FixedPointArray(integers[one.tensor].astype(np.int64), 0) for one in program.inputs]
    for grid, value in zip(grids(program), program.evaluate(Integers(), inputs), strict=True):
        numbers = value.values()
        assert (numbers >= grid.low).all()
        assert (numbers <= grid.high).all()
        scaled = np.ldexp(numbers, grid.fractions)
        assert (scaled == np.rint(scaled)).all()
        bound = np.ldexp(1.0, grid.widths - grid.signed - grid.fractions)
        assert ((numbers < bound) | (grid.widths == 0)).all()
        assert (numbers >= -bound * grid.signed).all()


@pytest.mark.parametrize(
    ("low", "high", "fraction", "width"),
    [
        (0, 0, 0, 0), (0, 1, 0, 1), (-1, 0, 0, 1), (-1, 1, 0, 2), (-128, 127, 0, 8), (-129, 127, 0, 9), (0, 255, 0, 8),
        (0, 256, 0, 9), (-0.5, 0.5, 1, 2), (4, 12, -2, 2), (0, 7.75, 2, 5), (3, 3, 0, 2),
    ],
)  # fmt: skip
def test_widths(low, high, fraction, width):
    grid = FixedGrid(np.array([float(low)]), np.array([float(high)]), np.array([fraction]))
    assert grid.widths.tolist() == [width]


@given(st.integers(-(2**52), 2**52), st.integers(-40, 40))
def test_fraction_bits(integer, exponent):
    value = np.ldexp(float(integer), exponent)
    bits = int(fraction_bits(np.asarray(value)))
    if integer:
        assert np.ldexp(value, bits) % 2 == 1  # one fewer would lose a bit
    else:
        assert bits < -1000


def test_elements_without_a_reader_are_dead():
    model = make("dense")
    for tensor in model.graph.initializer:
        if tensor.name == "w2":
            matrix = np.frombuffer(tensor.raw_data, np.float32).reshape(6, 3).copy()
            matrix[4] = 0
            tensor.raw_data = matrix.tobytes()
    program = Emulator(model, draw(model, 1)).graph.program
    live = live_elements(program)
    hidden = [mask for mask in live if mask.shape == (6,)]
    assert hidden
    assert all(not mask[4] and mask[[0, 1, 2, 3, 5]].all() for mask in hidden)
