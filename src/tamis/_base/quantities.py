"""Numbers for people: an SI prefix, as many digits as the error warrants, and the unit."""

from __future__ import annotations

import math

_PREFIXES = {-4: "p", -3: "n", -2: "µ", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T"}


def quantity(value: float, unit: str, error: float | None = None, digits: int = 3) -> str:
    """Return a value with a prefix: `12.5 ± 2.3 kHz`, `1.04 ms`; an error is given to two digits."""
    if not math.isfinite(value):
        return "-"
    size = abs(value) or abs(error or 0.0)
    power = min(4, max(-4, _thousands(size, digits)))
    scale = 1000.0**power
    if not error or not math.isfinite(error):
        return f"{_rounded(value / scale, digits)} {_PREFIXES[power]}{unit}"
    places = _places(error / scale)
    numbers = (f"{round(number / scale, places):.{max(0, places)}f}" for number in (value, error))
    return f"{' ± '.join(numbers)} {_PREFIXES[power]}{unit}"


def _thousands(size: float, digits: int) -> int:
    """Return the power of 1000 with which a size has one to three digits before the point, after rounding."""
    if not size:
        return 0
    power = math.floor(math.log10(size) / 3 + 1e-12)
    return power + 1 if float(_rounded(size / 1000.0**power, digits)) >= 1000 else power


def _places(error: float) -> int:
    """Return the decimal places that show two significant digits of an error; negative for an error of 100 or more."""
    places = 1 - math.floor(math.log10(error))
    return places - 1 if round(error, places) >= 10 ** (2 - places) else places  # 0.0996 is 0.10


def _rounded(value: float, digits: int) -> str:
    """Return a value with some significant digits, without an exponent."""
    if not value:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{places}f}"
    if places and len(text.replace("-", "").replace(".", "").lstrip("0")) > digits:  # 9.996 is 10.0
        text = f"{value:.{places - 1}f}"
    return text


def duration(nanoseconds: float, digits: int = 3) -> str:
    """Return a time with its unit: `3.20 s`, `410 µs`."""
    return quantity(nanoseconds / 1e9, "s", digits=digits)
