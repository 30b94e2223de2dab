"""Ranges of a program's values: which multiples of which power of two every element can be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.fixedpoint.program import (
    Add,
    Clip,
    FixedProgram,
    Linear,
    LookUp,
    Maximum,
    Multiply,
    Offset,
    Round,
    Scale,
    Take,
    Trees,
    Wrap,
)

FRACTION_OF_ZERO = -1075  # below every float64: zero is a multiple of any power of two


@dataclass(frozen=True)
class FixedGrid:
    """The values that a tensor can hold: multiples of 2^-fraction from `low` to `high`, element by element.

    `reach` bounds the partial sums of whatever order of summation, where it exceeds the bounds of the result.
    """

    low: np.ndarray
    high: np.ndarray
    fraction: np.ndarray
    reach: np.ndarray | None = None

    @property
    def signed(self) -> np.ndarray:
        """Whether elements can be negative."""
        return self.low < 0

    @property
    def fractions(self) -> np.ndarray:
        """The fraction bits, with 0 for elements that are always zero."""
        zero = (self.low == 0) & (self.high == 0)
        return np.where(zero, 0, self.fraction)

    @property
    def widths(self) -> np.ndarray:
        """The bits that each element needs, with the sign; 0 for a constant zero."""
        scale = np.ldexp(1.0, self.fractions)
        low, high = np.rint(self.low * scale), np.rint(self.high * scale)
        positive, negative = _bits(np.maximum(high, 0)), _bits(np.maximum(-low - 1, 0))
        return np.where(low < 0, np.maximum(positive, negative) + 1, positive).astype(np.int64)

    @property
    def exact_bits(self) -> int:
        """The bits of a float's mantissa that hold every element and every partial sum exactly."""
        most = np.maximum(np.abs(self.low), np.abs(self.high))
        if self.reach is not None:
            most = np.maximum(most, self.reach)
        return int(_bits(np.rint(most * np.ldexp(1.0, self.fractions))).max(initial=0))


def _bits(integers: np.ndarray) -> np.ndarray:
    """Return the number of bits of non-negative integers."""
    return np.where(integers < 1, 0, np.frexp(np.maximum(integers, 1))[1])


def fraction_bits(values: np.ndarray) -> np.ndarray:
    """Return the smallest number of fraction bits of each value; a multiple of four has -2, zero the least of all."""
    mantissa, exponent = np.frexp(np.asarray(values, np.float64))
    integers = np.abs(np.ldexp(mantissa, 53)).astype(np.int64)
    lowest = np.where(integers == 0, 1, integers & -integers)  # the lowest bit that is set
    trailing = np.frexp(lowest.astype(np.float64))[1] - 1
    return np.where(integers == 0, FRACTION_OF_ZERO, 53 - exponent - trailing)


def grids(program: FixedProgram) -> list[FixedGrid]:
    """Return the range of every value of a program."""
    inputs = [FixedGrid(one.low, one.high, one.fraction) for one in program.inputs]
    return program.evaluate(Ranges(), inputs)


class Ranges:
    """Evaluates a program on ranges."""

    def take(self, values: list[FixedGrid], step: Take) -> FixedGrid:
        """Gather ranges."""
        fill = np.asarray([step.fill])
        parts = {
            name: np.concatenate([*(getattr(value, name).ravel() for value in values), last])
            for name, last in (("low", fill), ("high", fill), ("fraction", fraction_bits(fill)))
        }
        return FixedGrid(**{name: part[step.indices] for name, part in parts.items()})

    def linear(self, value: FixedGrid, step: Linear) -> FixedGrid:
        """Bound every sum, and its partial sums in any order."""
        positive, negative = np.maximum(step.matrix, 0), np.minimum(step.matrix, 0)
        low = value.low @ positive + value.high @ negative
        high = value.high @ positive + value.low @ negative
        most = np.maximum(np.abs(value.low), np.abs(value.high))
        weights = fraction_bits(step.matrix)
        terms = np.where(weights == FRACTION_OF_ZERO, FRACTION_OF_ZERO, value.fraction[..., None] + weights)
        return FixedGrid(low, high, terms.max(axis=-2, initial=FRACTION_OF_ZERO), most @ np.abs(step.matrix))

    def scale(self, value: FixedGrid, step: Scale) -> FixedGrid:
        """Scale ranges."""
        ends = np.stack([value.low * step.factors, value.high * step.factors])
        return FixedGrid(ends.min(0), ends.max(0), value.fraction + fraction_bits(step.factors))

    def offset(self, value: FixedGrid, step: Offset) -> FixedGrid:
        """Shift ranges."""
        low, high = value.low + step.terms, value.high + step.terms
        reach = None if value.reach is None else value.reach + np.abs(step.terms)
        return FixedGrid(low, high, np.maximum(value.fraction, fraction_bits(step.terms)), reach)

    def add(self, first: FixedGrid, second: FixedGrid, step: Add) -> FixedGrid:
        """Add ranges."""
        del step
        return FixedGrid(
            first.low + second.low, first.high + second.high, np.maximum(first.fraction, second.fraction)
        )

    def multiply(self, first: FixedGrid, second: FixedGrid, step: Multiply) -> FixedGrid:
        """Multiply ranges."""
        del step
        ends = np.stack([a * b for a in (first.low, first.high) for b in (second.low, second.high)])
        return FixedGrid(ends.min(0), ends.max(0), first.fraction + second.fraction)

    def maximum(self, first: FixedGrid, second: FixedGrid, step: Maximum) -> FixedGrid:
        """Return the range of the larger value."""
        del step
        return FixedGrid(
            np.maximum(first.low, second.low),
            np.maximum(first.high, second.high),
            np.maximum(first.fraction, second.fraction),
        )

    def round(self, value: FixedGrid, step: Round) -> FixedGrid:
        """Round ranges."""
        function = ROUNDING_FUNCTIONS[step.rounding.name]
        return FixedGrid(function(value.low), function(value.high), np.minimum(value.fraction, 0))

    def clip(self, value: FixedGrid, step: Clip) -> FixedGrid:
        """Clip ranges."""
        low, high = np.clip(value.low, step.low, step.high), np.clip(value.high, step.low, step.high)
        bounds = [np.where(np.isfinite(bound), bound, 0) for bound in (step.low, step.high)]
        reached = [  # a bound that is never reached adds no bits
            np.where((bound > value.low) & (bound < value.high), fraction_bits(bound), FRACTION_OF_ZERO)
            for bound in bounds
        ]
        return FixedGrid(low, high, np.maximum.reduce([value.fraction, *reached]))

    def wrap(self, value: FixedGrid, step: Wrap) -> FixedGrid:
        """Return the range of remainders; a value that needs no division keeps its range."""
        inside = (value.low >= 0) & (value.high < step.moduli)
        largest = step.moduli - np.ldexp(1.0, -np.maximum(value.fractions, -60))
        return FixedGrid(
            np.where(inside, value.low, 0),
            np.where(inside, value.high, np.maximum(largest, 0)),
            value.fraction,
        )

    def look_up(self, value: FixedGrid, step: LookUp) -> FixedGrid:
        """Return the range of the entries that can be read."""
        low, high = np.empty(step.shape), np.empty(step.shape)
        fraction = np.empty(step.shape, np.int64)
        for place in np.ndindex(step.shape):
            begin, end = int(value.low[place]) - step.low, int(value.high[place]) - step.low + 1
            entries = step.table[max(begin, 0) : end]  # a range that is estimated may go beyond it
            low[place], high[place] = entries.min(), entries.max()
            fraction[place] = fraction_bits(entries).max()
        return FixedGrid(low, high, fraction)

    def trees(self, value: FixedGrid, step: Trees) -> FixedGrid:
        """Sum the ranges of the leaves of each tree, in any order."""
        del value
        owners = step.forest.owners()
        low, high, most = (np.zeros(step.shape) for _ in range(3))
        for tree in range(len(step.forest.roots)):
            leaves = step.forest.leaves[owners == tree]
            low, high = low + leaves.min(axis=0), high + leaves.max(axis=0)
            most = most + np.abs(leaves).max(axis=0)
        return FixedGrid(low, high, fraction_bits(step.forest.leaves).max(axis=0), most)


ROUNDING_FUNCTIONS = {"FLOOR": np.floor, "HALF_EVEN": np.rint}
