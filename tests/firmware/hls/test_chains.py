"""Chains of elementwise steps as assignments to HLS's types: the type and the numbers agree with the steps, element by element."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.firmware.hls.chains import HlsChain, Inexpressible, convert
from tamis.fixedpoint import FixedFormat, FixedGrid, Rounding
from tamis.fixedpoint.grids import Ranges
from tamis.fixedpoint.program import Clip, Offset, Round, Scale, Wrap

SHAPE = (3,)


def full(value):
    return np.broadcast_to(np.asarray(value, float), SHAPE).copy()


def scale(value):
    return Scale("layer", (0,), SHAPE, full(value))


def offset(value):
    return Offset("layer", (0,), SHAPE, full(value))


def rounded(mode):
    return Round("layer", (0,), SHAPE, mode)


def clip(low, high):
    return Clip("layer", (0,), SHAPE, full(low), full(high))


def wrap(modulus):
    return Wrap("layer", (0,), SHAPE, full(modulus))


FLOOR, EVEN = rounded(Rounding.FLOOR), rounded(Rounding.HALF_EVEN)
CHAINS = {
    "half up": ([scale(4), offset(0.5), FLOOR, clip(0, 15), scale(0.25)], "RND", "SAT"),
    "truncated": ([scale(2), FLOOR, clip(-16, 15), scale(0.5)], "TRN", "SAT"),
    "half to even": ([scale(2), EVEN, clip(-15, 15), scale(0.5)], "RND_CONV", "SAT_SYM"),
    "relu first": ([clip(0, np.inf), scale(2), offset(0.5), FLOOR, clip(0, 31), scale(0.5)], "RND", "SAT"),
    "limits as maxima of negatives": ([scale(2), offset(0.5), FLOOR, clip(0, np.inf), scale(-1), clip(-7, np.inf), scale(-0.5)], "RND", "SAT"),
    "a width for each": ([scale([1, 2, 4]), offset(0.5), FLOOR, clip(0, [7, 15, 31]), scale([1, 0.5, 0.25])], "RND", "SAT"),
    "wrapped": ([scale(2), FLOOR, wrap(16), scale(0.5)], "TRN", "WRAP"),
    "wrapped around zero": ([scale(2), FLOOR, offset(8), wrap(16), offset(-8), scale(0.5)], "TRN", "WRAP"),
    "moved before and after": ([offset(3), scale(2), FLOOR, offset(-6), scale(0.5)], "TRN", "WRAP"),
    "never limited": ([scale(2), EVEN, clip(-4000, 4000), scale(0.5)], "RND_CONV", "WRAP"),
}  # fmt: skip


def run(steps, grid, numbers):
    """Return the chain of steps, and what they make of rows of numbers."""
    from tamis.fixedpoint.emulate import FixedPointArray, Integers

    value = FixedPointArray(np.rint(np.ldexp(numbers, 5)).astype(np.int64), 5)
    chain = HlsChain.empty(SHAPE)
    for step in steps:
        longer = chain.extended(step, grid)
        assert longer is not None
        chain, grid = longer, step.apply(Ranges(), [grid])
        value = step.apply(Integers(), [value])
    return chain, value.values()


@pytest.mark.parametrize("name", CHAINS)
def test_the_conversion_computes_what_the_steps_do(name):
    steps, rounding, overflow = CHAINS[name]
    source = FixedGrid(full(-20), full(20), np.full(SHAPE, 5))
    numbers = np.repeat(np.arange(-640, 641)[:, None] / 32, 3, axis=1)
    chain, expected = run(steps, source, numbers)
    found = convert(chain, source)
    assert (found.rounding, found.overflow) == (rounding, overflow)
    kind = FixedFormat(found.width, found.integer, bool(found.signed.all()), found.rounding, found.overflow)
    result = kind(numbers * found.gain + found.bias)
    np.testing.assert_array_equal(result, expected)
    if name != "a width for each":
        signed, width, integer, mode = found.uniform
        same = FixedFormat(width, integer, signed, found.rounding, mode)(numbers * found.gain + found.bias)
        np.testing.assert_array_equal(same, expected)


def test_what_is_not_rounded_to_a_power_of_two_is_scaled_afterwards():
    source = FixedGrid(full(-20), full(20), np.full(SHAPE, 5))
    chain, expected = run(
        [EVEN, scale(0.75), offset(1)], source, np.linspace(-20, 20, 9)[:, None] * np.ones(3)
    )
    found = convert(chain, source)
    np.testing.assert_array_equal(found.scale, full(0.75))
    np.testing.assert_array_equal(found.offset, full(1))
    del expected


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([EVEN, clip(-5, 9)], "limits to -5 and 9 steps"),
        ([EVEN, clip(2, 15)], "limits from 2 steps"),
        ([FLOOR, scale(-1)], "changes the sign"),
        ([FLOOR, wrap(16), offset(3)], "wraps into a range"),
    ],
)
def test_what_hls_has_no_type_for(steps, message):
    source = FixedGrid(full(-20), full(20), np.full(SHAPE, 5))
    chain, _ = run(steps, source, np.zeros((1, 3)))
    with pytest.raises(Inexpressible, match=message):
        convert(chain, source)
