"""Numbers have a unit, a prefix that leaves one to three digits before the point, and as many digits as the error allows."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis._base import duration, quantity


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (12_500, 2_300, "12.5 ± 2.3 kHz"),
        (999_999, None, "1.00 MHz"),
        (9.996, None, "10.0 Hz"),
        (0.0021, 0.0019, "2.1 ± 1.9 mHz"),
        (0, None, "0 Hz"),
        (0, 3, "0.0 ± 3.0 Hz"),
        (1e9, 1, "1.0000000000 ± 0.0000000010 GHz"),
        (40e6, 0, "40.0 MHz"),
        (124.6, 99.7, "120 ± 100 Hz"),
        (333.3, 333.3, "330 ± 330 Hz"),
        (1666.7, 738.0, "1.67 ± 0.74 kHz"),
        (0.12345, 0.0123, "123 ± 12 mHz"),
        (5, 0.0996, "5.00 ± 0.10 Hz"),
        (-1234, None, "-1.23 kHz"),
        (math.nan, None, "-"),
        (math.inf, 1, "-"),
    ],
)
def test_values_and_errors(value, error, shown):
    assert quantity(value, "Hz", error) == shown


def test_times():
    assert duration(1_250_000) == "1.25 ms"
    assert duration(3.2e9) == "3.20 s"
    assert duration(410) == "410 ns"
    assert duration(12_300) == "12.3 µs"


@given(st.floats(min_value=1e-11, max_value=1e14), st.integers(2, 5))
def test_the_number_is_the_value_and_has_the_digits(value, digits):
    shown = quantity(value, "Hz", digits=digits)
    number, prefix = re.fullmatch(r"([\d.]+) ([pnµmkMGT]?)Hz", shown).groups()
    scale = {"p": 1e-12, "n": 1e-9, "µ": 1e-6, "m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[
        prefix
    ]
    assert float(number) * scale == pytest.approx(value, rel=10.0 ** (1 - digits))
    if 1e-10 < value < 1e14:
        assert 1 <= float(number) < 1000
        assert len(number.replace(".", "").lstrip("0")) in (digits, 3)
