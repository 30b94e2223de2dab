"""Chains of elementwise steps as what HLS has for them: a factor and a term, and the assignment to a fixed-point type.

A chain is kept as `y = step * round(gain * x + shift) + term`, limited to [low, high] or wrapped into a window. Limits commute with
whatever does not decrease, so they are moved to the end of the chain; every element has its own numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tamis.fixedpoint import FixedGrid, Rounding, Step, fraction_bits
from tamis.fixedpoint.grids import FRACTION_OF_ZERO
from tamis.fixedpoint.program import Clip, Offset, Round, Scale, Wrap

HALF = 0.5
ROUND_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "TRN": np.floor,
    "RND": lambda value: np.floor(value + HALF),
    "RND_CONV": np.rint,
}


class Inexpressible(Exception):  # noqa: N818 - it says why, and becomes a ModelError with the layer's name
    """What a chain or a layer does that hls4ml has no layer for."""


@dataclass(frozen=True)
class HlsChain:
    """Elementwise steps after a source; `rounding` is empty before the first rounding, and then step and term are unused."""

    gain: np.ndarray
    shift: np.ndarray
    low: np.ndarray
    high: np.ndarray
    rounding: str = ""
    step: np.ndarray | None = None
    term: np.ndarray | None = None
    modulus: np.ndarray | None = None
    window: np.ndarray | None = None  # the lowest number that wrapping gives
    half: bool = False  # whether the last step added one half

    @classmethod
    def empty(cls, shape: Sequence[int]) -> HlsChain:
        """Return the chain that changes nothing."""
        ones = np.ones(tuple(shape))
        return cls(ones, 0 * ones, -np.inf * ones, np.inf * ones)

    @property
    def is_affine(self) -> bool:
        """Whether the chain only multiplies and adds."""
        limited = np.isfinite(self.low).any() or np.isfinite(self.high).any()
        return not self.rounding and self.modulus is None and not limited

    def extended(self, step: Step, before: FixedGrid) -> HlsChain | None:
        """Return the chain with one more step, whose input has a range; None where it does not fit in."""
        if isinstance(step, Scale):
            return self._scaled(step.factors)
        if isinstance(step, Offset):
            return self._shifted(step.terms)
        if isinstance(step, Round):
            return self._rounded(step.rounding, before)
        if isinstance(step, Clip):
            if ((step.low <= before.low) & (step.high >= before.high)).all():
                return self
            if self.modulus is not None:
                return None
            low, high = (np.clip(bound, step.low, step.high) for bound in (self.low, self.high))
            return replace(self, low=low, high=high, half=False)
        if isinstance(step, Wrap):
            if ((before.low >= 0) & (before.high < step.moduli)).all():
                return self
            limited = np.isfinite(self.low).any() or np.isfinite(self.high).any()
            if self.modulus is not None or limited:
                return None
            return replace(self, modulus=step.moduli, window=np.zeros_like(step.moduli), half=False)
        return None

    def _scaled(self, factors: np.ndarray) -> HlsChain | None:
        if self.is_affine:
            return replace(self, gain=self.gain * factors, shift=self.shift * factors, half=False)
        if (factors == 0).any() or (self.modulus is not None and (factors < 0).any()):
            return None
        ends = self.low * factors, self.high * factors
        made = replace(self, low=np.minimum(*ends), high=np.maximum(*ends), half=False)
        if self.modulus is not None and self.window is not None:
            made = replace(made, modulus=self.modulus * factors, window=self.window * factors)
        if self.step is not None and self.term is not None:
            return replace(made, step=self.step * factors, term=self.term * factors)
        return replace(made, gain=self.gain * factors, shift=self.shift * factors)

    def _shifted(self, terms: np.ndarray) -> HlsChain:
        half = bool((terms == HALF).all())
        made = replace(self, low=self.low + terms, high=self.high + terms, half=half)
        if self.window is not None:
            made = replace(made, window=self.window + terms)
        if self.term is not None:
            return replace(made, term=self.term + terms)
        return replace(made, shift=self.shift + terms)

    def _rounded(self, rounding: Rounding, before: FixedGrid) -> HlsChain | None:
        if (before.fractions <= 0).all():
            return self
        if self.rounding or self.modulus is not None or (self.gain < 0).any():
            return None
        even = rounding is Rounding.HALF_EVEN
        half = self.half and not even  # half is added and the rest is dropped: rounded half up
        mode = "RND_CONV" if even else "RND" if half else "TRN"
        ends = [np.rint(bound) if even else np.floor(bound) for bound in (self.low, self.high)]
        ones = np.ones_like(self.gain)
        return replace(
            self,
            shift=self.shift - HALF * half,
            rounding=mode,
            step=ones,
            term=0 * ones,
            low=ends[0],
            high=ends[1],
            half=False,
        )


@dataclass(frozen=True)
class Conversion:
    """A chain in HLS's words: `x * gain + bias`, assigned to a type for each element, and then perhaps times `scale` plus `offset`."""

    gain: np.ndarray
    bias: np.ndarray
    signed: np.ndarray
    width: np.ndarray
    integer: np.ndarray
    rounding: str
    overflow: str
    is_exact: bool  # the assignment changes nothing
    is_relu: bool  # negative numbers become zero in every element
    limits_above: bool
    uniform: tuple[bool, int, int, str] | None  # signed, width, integer bits, overflow: one type for all
    scale: np.ndarray | None = None
    offset: np.ndarray | None = None


@dataclass(frozen=True)
class _Element:
    """One element's assignment in units of its step; an absent bound is never reached."""

    fraction: int
    free: bool  # rounding never changes it
    low: float | None
    high: float | None
    least: float
    most: float


def convert(chain: HlsChain, source: FixedGrid) -> Conversion:
    """Return the conversion of a chain whose source has a range; raise Inexpressible where HLS's types do not fit."""
    gain, shift = chain.gain, chain.shift
    scale = offset = None
    low, high = chain.low, chain.high
    if chain.step is None or chain.term is None:
        products = np.maximum(source.fraction + fraction_bits(gain), fraction_bits(shift))
        zero = (source.low == 0) & (source.high == 0) & (shift == 0)
        ends = [fraction_bits(np.where(np.isfinite(bound), bound, 0)) for bound in (low, high)]
        fractions = np.where(zero, FRACTION_OF_ZERO, np.maximum.reduce([products, *ends]))
        most = int(fractions.max(initial=FRACTION_OF_ZERO))
        fraction = np.full(gain.shape, 0 if most == FRACTION_OF_ZERO else most)
        step, bias, rounding = np.ldexp(1.0, -fraction), shift, "TRN"
    else:
        step, term, rounding = chain.step, chain.term, chain.rounding
        if (step < 0).all() and rounding == "RND_CONV":  # -rint(v) is rint(-v)
            step, gain, shift = -step, -gain, -shift
        even = 2 if rounding == "RND_CONV" else 1
        whole = term / step
        if (np.frexp(step)[0] != 0.5).any() or (np.fmod(whole, even) != 0).any():
            if (step < 0).any():
                raise Inexpressible("it rounds and then changes the sign")
            scale, offset = step, term  # a layer of its own; the type holds the integers
            low, high = (low - term) / step, (high - term) / step
            step, whole = np.ones_like(step), np.zeros_like(step)
        fraction = 1 - np.frexp(step)[1]
        gain, bias = gain * step, (shift + whole) * step
    if (step <= 0).any():
        raise Inexpressible("it rounds and then changes the sign")
    inside = [
        np.rint(bound / step) if not rounding else ROUND_FUNCTIONS[rounding](bound / step)
        for bound in (source.low * gain + bias, source.high * gain + bias)
    ]
    least, most_units = np.minimum(*inside), np.maximum(*inside)
    if chain.modulus is not None and chain.window is not None:
        return _wrapping(chain, gain, bias, fraction, rounding)
    free = np.maximum(source.fraction + fraction_bits(gain), fraction_bits(bias)) <= fraction
    elements = [
        _Element(
            int(one[0]),
            bool(one[1]),
            _bound(one[2], one[2] > one[4]),
            _bound(one[3], one[3] < one[5]),
            one[4],
            one[5],
        )
        for one in zip(
            *(np.ravel(part) for part in (fraction, free, low / step, high / step, least, most_units)),
            strict=True,
        )
    ]
    types = {element: _type(element) for element in set(elements)}
    signed = np.array([types[one][0] for one in elements]).reshape(gain.shape)
    width = np.array([types[one][1] for one in elements]).reshape(gain.shape)
    modes = {types[one][2] for one in elements} - {"WRAP"}
    if len(modes) > 1:
        raise Inexpressible(f"its elements saturate in different ways ({', '.join(sorted(modes))})")
    return Conversion(
        gain=gain,
        bias=bias,
        signed=signed,
        width=width,
        integer=width - fraction,
        rounding=rounding,
        overflow=modes.pop() if modes else "WRAP",
        is_exact=all(one.free and one.low is None and one.high is None for one in elements),
        is_relu=all(one.low == 0 or one.least >= 0 for one in elements)
        and any(one.low == 0 for one in elements),
        limits_above=any(one.high is not None for one in elements),
        uniform=_uniform(list(types), list(types.values())),
        scale=scale,
        offset=offset,
    )


def _bound(value: float, reached: bool) -> float | None:
    return float(value) if reached else None


def _type(element: _Element) -> tuple[bool, int, str]:
    """Return whether a type that assigns as an element does is signed, its width, and its overflow mode."""
    low, high = element.low, element.high
    least = element.least if low is None else low
    most = element.most if high is None else high
    bits = max(int(most), 0).bit_length()
    if high is not None and (high < 0 or high != 2**bits - 1):
        raise Inexpressible(
            f"it limits to {least:g} and {most:g} steps, which is not the range of a fixed-point type"
        )
    if least >= 0:
        if low not in (None, 0):
            raise Inexpressible(
                f"it limits from {low:g} steps, which is not the lower end of a fixed-point type"
            )
        return False, bits, "WRAP" if low is None and high is None else "SAT"
    if low is None:
        need = max(bits, (int(-least) - 1).bit_length())
        if high is not None and need > bits:
            raise Inexpressible(f"it limits to {most:g} steps above but not below")
        return True, need + 1, "WRAP" if high is None else "SAT"
    for mode, lowest in (("SAT", int(-low)), ("SAT_SYM", int(-low) + 1)):
        need = lowest.bit_length() - 1
        if (
            lowest == 2**need
            and (need == bits if high is not None else bits <= need)
            and (mode == "SAT" or need > 0)
        ):
            return True, need + 1, mode
    raise Inexpressible(
        f"it limits to {least:g} and {most:g} steps, which is not the range of a fixed-point type"
    )


def _uniform(
    elements: list[_Element], types: list[tuple[bool, int, str]]
) -> tuple[bool, int, int, str] | None:
    """Return one type that assigns as all elements do, if there is one."""
    candidates = {
        (signed, width, one.fraction, mode)
        for one, (signed, width, mode) in zip(elements, types, strict=True)
    }
    for signed, width, fraction, mode in sorted(candidates, key=lambda one: (-one[1], one)):
        if width and all(_fits(one, signed, width, fraction, mode) for one in elements):
            return signed, width, width - fraction, mode
    return None


def _fits(element: _Element, signed: bool, width: int, fraction: int, mode: str) -> bool:
    """Return whether a type assigns as an element does."""
    if element.fraction != fraction and not (element.free and element.fraction < fraction):
        return False
    unit = 2.0 ** (fraction - element.fraction)
    highest = 2.0 ** (width - signed) - 1
    lowest = (-highest - (mode != "SAT_SYM")) if signed else 0.0
    below = element.least * unit >= lowest if element.low is None else element.low * unit == lowest
    above = element.most * unit <= highest if element.high is None else element.high * unit == highest
    limited = element.low is not None or element.high is not None
    return below and above and (mode != "WRAP" or not limited)


def _wrapping(
    chain: HlsChain, gain: np.ndarray, bias: np.ndarray, fraction: np.ndarray, rounding: str
) -> Conversion:
    """Return the conversion of a chain that wraps."""
    modulus, window = np.asarray(chain.modulus), np.asarray(chain.window)
    signed = window < 0
    if not np.array_equal(window, np.where(signed, -modulus / 2, 0.0)):
        raise Inexpressible("it wraps into a range that is not that of a fixed-point type")
    integer = np.frexp(modulus)[1] - 1
    width = np.maximum(integer + fraction, 0)
    kinds = {
        (bool(s), int(w), int(i))
        for s, w, i in zip(signed.ravel(), width.ravel(), integer.ravel(), strict=True)
    }
    uniform = (*next(iter(kinds)), "WRAP") if len(kinds) == 1 else None
    return Conversion(gain, bias, signed, width, integer, rounding, "WRAP", False, False, False, uniform)
