"""Fixed-point formats: text, limits, rounding and overflow against exact fractions, and the properties of a quantiser."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tamis._base import DataError, UsageError
from tamis.fixedpoint import OVERFLOWS, ROUNDINGS, FixedFormat

FORMATS = st.builds(
    lambda width, integer, signed, rounding, overflow: FixedFormat(
        min(width, 64 if signed else 63), integer, signed, rounding, overflow
    ),
    st.integers(1, 64),
    st.integers(-30, 90),
    st.booleans(),
    st.sampled_from(sorted(ROUNDINGS)),
    st.sampled_from(OVERFLOWS),
)
NUMBERS = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.floats(-300, 300)
    | st.integers(-4000, 4000).map(lambda n: n / 16)
)


def nearest(scaled: Fraction, rounding: str) -> int:
    """Round a fraction as the documentation of `ap_fixed` says it in words."""
    below, above = math.floor(scaled), math.ceil(scaled)
    if rounding == "TRN" or below == above:
        return below
    if rounding == "TRN_ZERO":
        return below if scaled > 0 else above
    if scaled - below != Fraction(1, 2):
        return below if scaled - below < Fraction(1, 2) else above
    return {
        "RND": above,
        "RND_MIN_INF": below,
        "RND_ZERO": below if scaled > 0 else above,
        "RND_INF": above if scaled > 0 else below,
        "RND_CONV": below if below % 2 == 0 else above,
    }[rounding]


def expected(form: FixedFormat, value: float) -> int:
    """Quantise one value in exact arithmetic."""
    number = nearest(Fraction(value) * Fraction(2) ** int(form.fraction), form.rounding)
    low, high = (
        (-(2 ** (form.width - 1)), 2 ** (form.width - 1) - 1) if form.signed else (0, 2**form.width - 1)
    )
    if form.overflow == "WRAP":
        return (number - low) % 2**form.width + low
    if form.overflow == "SAT_ZERO":
        return number if low <= number <= high else 0
    if form.overflow == "SAT_SYM" and form.signed and form.width > 1:
        low = -high
    return min(max(number, low), high)


@given(FORMATS, NUMBERS)
@example(FixedFormat(8, 8, rounding="RND_INF"), -0.49999999999999994)  # 0.5 above -1 in float64
def test_every_mode_is_what_the_documentation_says(form: FixedFormat, value: float) -> None:
    assert int(form.quantise(np.array([value]))[0]) == expected(form, value)


@given(FORMATS, st.lists(NUMBERS, min_size=1, max_size=20))
def test_quantising_twice_changes_nothing(form: FixedFormat, values: list[float]) -> None:
    once = form(np.array(values))
    exact = np.abs(form.quantise(np.array(values))) < 2**53  # others are not float64 numbers
    np.testing.assert_array_equal(form(once)[exact], once[exact])


@given(FORMATS, st.lists(NUMBERS, min_size=2, max_size=20))
def test_a_saturating_quantiser_keeps_the_order_and_the_bounds(
    form: FixedFormat, values: list[float]
) -> None:
    form = FixedFormat(form.width, form.integer, form.signed, form.rounding, "SAT")
    ordered = form.quantise(np.sort(np.array(values)))
    assert (np.diff(ordered.astype(object)) >= 0).all()
    low, high = form.bounds
    assert (ordered >= low).all()
    assert (ordered <= high).all()


@given(FORMATS)
def test_a_format_is_parsed_from_its_text(form: FixedFormat) -> None:
    again = FixedFormat.parse(str(form))
    assert again == form
    assert hash(again) == hash(form)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fixed<8,3>", "fixed<8,3,TRN,WRAP>"),
        ("ufixed<8, -2, RND>", "ufixed<8,-2,RND,WRAP>"),
        ("ap_fixed<16,6,AP_RND_CONV,AP_SAT_SYM>", "fixed<16,6,RND_CONV,SAT_SYM>"),
        ("ap_uint<4>", "ufixed<4,4,TRN,WRAP>"),
        ("int<5>", "fixed<5,5,TRN,WRAP>"),
    ],
)
def test_text_of_hls_is_understood(text: str, expected: str) -> None:
    assert str(FixedFormat.parse(text)) == expected


def test_limits_of_a_format() -> None:
    form = FixedFormat.parse("fixed<8,3>")
    assert (form.low, form.high, form.step) == (-4.0, 4.0 - 2**-5, 2**-5)
    assert (FixedFormat.parse("ufixed<4,6>").high, FixedFormat.parse("fixed<4,-2>").low) == (60.0, -(2**-3))
    assert FixedFormat.parse("fixed<8,3,TRN,SAT_SYM>").low == -(4.0 - 2**-5)


def test_every_channel_has_its_own_width() -> None:
    form = FixedFormat(np.array([8, 4, 0]), np.array([1, 1, 1]), rounding="RND", overflow="SAT")
    np.testing.assert_array_equal(form(np.full((2, 3), 0.3)), [[0.296875, 0.25, 0.0]] * 2)
    assert str(form) == "fixed<0..8,1,RND,SAT>"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fixed<8>", "write fixed<W,I>"),
        ("fixed<8,3,RND,SAT,1>", "write fixed<W,I>"),
        ("fixed<8,x>", "must be integers"),
        ("fixed<0,1>", "between 1 and 64 bits"),
        ("ufixed<64,1>", "between 1 and 63 bits"),
        ("fixed<8,3,ROUND>", "did you mean"),
        ("fixed<8,3,RND,SATURATE>", "did you mean"),
    ],
)
def test_text_that_is_no_format_is_explained(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FixedFormat.parse(text)


def test_nan_has_no_fixed_point_value() -> None:
    with pytest.raises(DataError, match="1 of 2 values are NaN"):
        FixedFormat.parse("fixed<8,3,RND,SAT>").quantise(np.array([1.0, np.nan]))
    assert FixedFormat.parse("fixed<8,3,RND,SAT>")(np.array([np.inf]))[0] == 4 - 2**-5
    with pytest.raises(DataError, match="infinite"):
        FixedFormat.parse("fixed<8,3>").quantise(np.array([np.inf]))
