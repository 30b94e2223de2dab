"""Fixed-point formats as HLS's `ap_fixed` defines them: `fixed<W,I,ROUNDING,OVERFLOW>` and `ufixed<...>`.

A format holds the multiples of 2^-(W - I) that W bits distinguish; I counts the bits before the binary point, including the
sign, and may be negative or larger than W. See AMD's UG1399, "Arbitrary Precision Fixed-Point Data Types"; `ap_fixed.h` itself,
which hls4ml ships, is what the tests compare with.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from tamis._base import DataError, UsageError, did_you_mean

Widths = int | np.ndarray  # one for a tensor, or an array that broadcasts against it: per channel, per weight

FORMAT_WIDTH_MAX = {True: 64, False: 63}  # of signed and unsigned formats: integers are int64
INTEGER_BITS_MAX = 1000  # beyond which the limits of a format leave the range of float64
FORMAT_TEXT = re.compile(r"(ap_)?(u?)(fixed|int)<([^<>]*)>")


ROUNDINGS = ("TRN", "TRN_ZERO", "RND", "RND_ZERO", "RND_INF", "RND_MIN_INF", "RND_CONV")
OVERFLOWS = ("WRAP", "SAT", "SAT_ZERO", "SAT_SYM")


@dataclass(frozen=True, eq=False)
class FixedFormat:
    """A fixed-point format of one width for a tensor, or of one for every channel or element.

    In an array, a width of 0 is a format that holds nothing but zero, such as that of a removed weight.
    """

    width: Widths
    integer: Widths
    signed: bool = True
    rounding: str = "TRN"
    overflow: str = "WRAP"

    def __post_init__(self) -> None:
        """Check the widths and the names of the modes."""
        for name, value, known in (
            ("rounding", self.rounding, ROUNDINGS),
            ("overflow", self.overflow, OVERFLOWS),
        ):
            if value not in known:
                hint = did_you_mean(value, known)
                raise UsageError(f"the {name} of a fixed-point format is {value!r}; {hint}".rstrip("; "))
        for name in ("width", "integer"):
            array = np.asarray(getattr(self, name))
            if array.dtype.kind not in "iu":
                raise UsageError(
                    f"the {name} of a fixed-point format is {getattr(self, name)!r}; it must be an integer"
                )
            object.__setattr__(self, name, int(array) if array.ndim == 0 else array.astype(np.int64))
        least, most = int(np.ndim(self.width) == 0), FORMAT_WIDTH_MAX[self.signed]
        widths, integers = np.asarray(self.width), np.asarray(self.integer)
        if widths.size and not (least <= widths.min() and widths.max() <= most):
            wrong = int(widths.min()) if widths.min() < least else int(widths.max())
            kind = "fixed" if self.signed else "ufixed"
            raise UsageError(
                f"the width of a {kind} format is {wrong}; it must be between {least} and {most} bits"
            )
        if integers.size and np.abs(integers).max() > INTEGER_BITS_MAX:
            wrong = int(integers.flat[np.abs(integers).argmax()])
            raise UsageError(
                f"the integer bits of a fixed-point format are {wrong}; they must be between "
                f"-{INTEGER_BITS_MAX} and {INTEGER_BITS_MAX}"
            )

    @classmethod
    def parse(cls, text: str) -> FixedFormat:
        """Parse `fixed<8,3>`, `ufixed<8,3,RND,SAT>`, and HLS's own `ap_fixed<8,3,AP_RND,AP_SAT>`, `ap_uint<8>`.

        As in HLS, the modes are TRN and WRAP where they are not given.
        """
        form = FORMAT_TEXT.fullmatch(text.replace(" ", ""))
        parts = form[4].split(",") if form else []
        numbers = 1 if form and form[3] == "int" else 2
        if form is None or len(parts) not in ((1,) if numbers == 1 else (2, 3, 4)):
            raise UsageError(
                f"{text!r} is not a fixed-point format: write fixed<W,I> or ufixed<W,I> with the width W and the integer "
                "bits I, and if they differ from TRN and WRAP the rounding and the overflow, as in fixed<8,3,RND,SAT>"
            )
        if not all(re.fullmatch(r"-?\d{1,4}", part) for part in parts[:numbers]):
            raise UsageError(
                f"{text!r} is not a fixed-point format: width and integer bits must be integers, as in fixed<8,3>"
            )
        width, integer = int(parts[0]), int(parts[numbers - 1])
        modes = [part.removeprefix("AP_") for part in parts[2:]]
        if form[3] == "int":
            return cls(width, integer, not form[2])
        return cls(width, integer, not form[2], *modes)

    @property
    def fraction(self) -> Widths:
        """The bits after the binary point; negative for multiples of a power of two."""
        return self.width - self.integer

    @property
    def step(self) -> np.ndarray:
        """The distance of neighbouring values."""
        return np.ldexp(1.0, -np.asarray(self.fraction))

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The smallest and the largest integer, in units of the step."""
        width = np.asarray(self.width, np.int64)
        half = np.maximum(width - 1, 0) if self.signed else width
        high = np.where(half == 63, np.iinfo(np.int64).max, (np.int64(1) << np.minimum(half, 62)) - 1)
        if not self.signed:
            return np.zeros_like(high), high
        symmetric = (self.overflow == "SAT_SYM") & (width != 1)  # one bit keeps its -1, as in ap_fixed.h
        return np.where(width == 0, 0, np.where(symmetric, -high, -high - 1)), high

    @property
    def low(self) -> np.ndarray:
        """The smallest value."""
        return self.values(self.bounds[0])

    @property
    def high(self) -> np.ndarray:
        """The largest value."""
        return self.values(self.bounds[1])

    def quantise(self, values: np.ndarray) -> np.ndarray:
        """Return values as int64 integers in units of the step, rounded and limited exactly as in HLS."""
        values = np.asarray(values, np.float64)
        bad = ~np.isfinite(values) if self.overflow == "WRAP" else np.isnan(values)
        if bad.any():
            raise DataError(
                f"{int(bad.sum())} of {bad.size} values are NaN or infinite, which {self} does not hold: leave them out"
            )
        with np.errstate(over="ignore", under="ignore"):
            scaled = np.ldexp(values, np.asarray(self.fraction))
        # below the range of float64 only the sign decides how a number is rounded, above it is a multiple of 2^W
        lost, beyond = (scaled == 0) & (values != 0), np.isinf(scaled)
        scaled = np.where(lost, np.copysign(2.0**-1000, values), scaled)
        size = np.where(beyond, 0.0, np.abs(scaled))
        whole = np.floor(size)
        rounded = np.copysign(whole + _rounds_up(self.rounding, whole, size - whole, scaled < 0), scaled)
        wrapped = self._wrapped(rounded)
        if self.overflow == "WRAP":
            return wrapped
        # not the largest integer, which float64 may not hold, but the first one above it
        limit = np.ldexp(1.0, np.maximum(np.asarray(self.width) - self.signed, 0))
        limit = np.where(np.asarray(self.width) == 0, 1.0, limit)
        above = (rounded >= limit) | (scaled == np.inf)
        below = (rounded < (-limit if self.signed else 0.0)) | (scaled == -np.inf)
        low, high = self.bounds
        if self.overflow == "SAT_ZERO":
            return np.where(above | below, 0, wrapped)
        return np.where(above, high, np.where(below, low, np.maximum(wrapped, low)))

    def values(self, integers: np.ndarray) -> np.ndarray:
        """Return the values of integers as float64, exact up to 53 significant bits."""
        return np.ldexp(np.asarray(integers).astype(np.float64), -np.asarray(self.fraction))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return the values that the format holds instead of these."""
        return self.values(self.quantise(values))

    def _wrapped(self, rounded: np.ndarray) -> np.ndarray:
        """Return integers modulo 2^W."""
        modulus = np.ldexp(1.0, np.asarray(self.width))
        rest = np.fmod(rounded, modulus)  # exact, with the sign of the number
        if not self.signed:
            return rest.astype(np.int64) & self.bounds[1]
        half = modulus / 2
        rest = np.where(rest >= half, rest - modulus, np.where(rest < -half, rest + modulus, rest))
        return np.where(np.asarray(self.width) == 0, 0.0, rest).astype(np.int64)

    def __str__(self) -> str:
        """Return the format as text; widths that differ are given as a range."""
        name = "fixed" if self.signed else "ufixed"
        return f"{name}<{_text(self.width)},{_text(self.integer)},{self.rounding},{self.overflow}>"

    def __eq__(self, other: object) -> bool:
        """Return whether two formats hold the same values in the same way."""
        if not isinstance(other, FixedFormat):
            return NotImplemented
        modes = (self.signed, self.rounding, self.overflow) == (other.signed, other.rounding, other.overflow)
        return (
            modes and np.array_equal(self.width, other.width) and np.array_equal(self.integer, other.integer)
        )

    def __hash__(self) -> int:
        """Return a hash that agrees with equality."""
        return hash((str(self), np.shape(self.width)))


def _text(width: Widths) -> str:
    low, high = int(np.min(width)), int(np.max(width))
    return str(low) if low == high else f"{low}..{high}"


def _rounds_up(rounding: str, whole: np.ndarray, rest: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Return whether the magnitude `whole + rest` of a number is rounded up.

    (The rest above the integer below a negative number would not be exact in float64.)
    """
    if rounding == "TRN":  # down
        return negative & (rest > 0)
    if rounding == "TRN_ZERO":
        return np.zeros_like(negative)
    up_from_half = {
        "RND": ~negative,
        "RND_ZERO": np.zeros_like(negative),
        "RND_INF": np.ones_like(negative),
        "RND_MIN_INF": negative,
        "RND_CONV": whole % 2 == 1,  # to the even one
    }
    return np.asarray((rest > 0.5) | ((rest == 0.5) & up_from_half[rounding]))
