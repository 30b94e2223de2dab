"""Simplified programs compute the same values with fewer steps."""

from __future__ import annotations

import numpy as np
import pytest
from tests.fixedpoint.conftest import NAMES, draw, make

from tamis.fixedpoint import emulate, split_graph
from tamis.fixedpoint.program import Add, Clip, FixedProgram, Offset, ProgramInput, Round, Rounding, Scale
from tamis.fixedpoint.simplify import simplify

ROWS = np.arange(-64.0, 64.0)[:, None] / 8  # every number of the input


def chain(*steps, outputs=None):
    """Return a program of steps on one number from -8 to 7.875, each of which reads the one before."""
    one = ProgramInput("x", (1,), np.array([-8.0]), np.array([7.875]), np.array([3]))
    made = tuple(
        kind("layer", (number, *more), (1,), *values) for number, (kind, values, *more) in enumerate(steps)
    )
    return FixedProgram((one,), made, outputs or (len(steps),), ("y",) * len(outputs or (0,)))


def clip(low, high):
    return Clip, (np.array([low]), np.array([high]))


def offset(term):
    return Offset, (np.array([term]),)


def scale(factor):
    return Scale, (np.array([factor]),)


FLOOR = Round, (Rounding.FLOOR,)
RECTIFIED = (offset(0.25), clip(0.0, np.inf), scale(4.0), offset(0.5), FLOOR, clip(0.0, 15.0))


def check(program, steps):
    simple = simplify(program)
    assert [type(step) for step in simple.steps] == steps
    for one, other in zip(emulate(program, [ROWS]), emulate(simple, [ROWS]), strict=True):
        np.testing.assert_array_equal(one.values(), other.values())
    return simple


def test_a_rectified_sum_that_is_rounded_adds_once_and_cuts_once():
    simple = check(chain(*RECTIFIED), [Offset, Scale, Round, Clip])
    assert simple.steps[0].terms == 0.25 + 0.5 / 4


@pytest.mark.parametrize(
    ("steps", "kept"),
    [
        ((clip(1.0, 4.0), clip(0.0, 5.0)), [Clip, Clip]),  # the first is the narrower one
        ((clip(0.0, 5.0), clip(1.0, 4.0)), [Clip]),
        ((clip(0.0, np.inf), scale(-1.0), clip(-3.0, 0.0)), [Clip, Scale, Clip]),  # it falls
        ((clip(0.0, np.inf), offset(0.5), clip(0.0, 3.0)), [Clip, Offset, Clip]),  # zero becomes a half
        ((clip(-1.0, 3.0), clip(0.0, 3.0), scale(2.0)), [Clip, Scale]),
        ((offset(1.0), scale(3.0), offset(1.0)), [Offset, Scale, Offset]),  # a third has no finite form
    ],
)
def test_only_what_changes_nothing_is_left_out(steps, kept):
    check(chain(*steps), kept)


def test_values_that_others_read_stay():
    steps = (*RECTIFIED, (Add, (), 2))  # the sum of the last value and of the rectified one
    check(chain(*steps), [Offset, Clip, Offset, Scale, Round, Clip, Add])
    check(chain(*RECTIFIED, outputs=(2, 6)), [Offset, Clip, Offset, Scale, Round, Clip])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_any_graph_computes_the_same(name, seed):
    model = make(name, seed)
    program = split_graph(model, draw(model, 1)).program
    rng = np.random.default_rng(seed)
    rows = []
    for one in program.inputs:
        low, high = (np.ldexp(bound, one.fraction) for bound in (one.low, one.high))
        rows.append(
            np.ldexp(rng.integers(low, high + 1, (500, *one.shape)).astype(np.float64), -one.fraction)
        )
    simple = simplify(program)
    assert len(simple.steps) <= len(program.steps)
    for one, other in zip(emulate(program, rows), emulate(simple, rows), strict=True):
        np.testing.assert_array_equal(one.values(), other.values())
