"""Exact emulation of a program in 64-bit integers, for a batch of rows at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis._base import ModelError
from tamis.fixedpoint.grids import FRACTION_OF_ZERO, fraction_bits
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
    Rounding,
    Scale,
    Take,
    Trees,
    Wrap,
)

INTEGER_BITS = 62


@dataclass(frozen=True)
class FixedPointArray:
    """Integers times 2^-fraction, one fraction for the whole array: (rows, *shape)."""

    integers: np.ndarray
    fraction: int

    def values(self) -> np.ndarray:
        """Return the numbers; float64 holds those of at most 53 bits exactly."""
        return np.ldexp(self.integers.astype(np.float64), -self.fraction)

    def at(self, fraction: int) -> np.ndarray:
        """Return the integers for a fraction that is not smaller."""
        return self.integers << (fraction - self.fraction)


def emulate(program: FixedProgram, inputs: list[np.ndarray]) -> list[FixedPointArray]:
    """Return the outputs of a program for inputs on its grid: (rows, *shape) each."""
    values = []
    for array, one in zip(inputs, program.inputs, strict=True):
        fraction = max(0, int(one.fraction.max(initial=0)))
        integers = np.rint(np.ldexp(array.astype(np.float64), fraction)).astype(np.int64)
        values.append(FixedPointArray(integers, fraction))
    results = program.evaluate(Integers(), values)
    return [results[index] for index in program.outputs]


class Integers:
    """Evaluates a program on rows of 64-bit integers; a sum that may not fit is an error."""

    def take(self, values: list[FixedPointArray], step: Take) -> FixedPointArray:
        """Gather elements."""
        fraction = max(*(value.fraction for value in values), _fraction(np.asarray(step.fill)))
        rows = len(values[0].integers)
        fill = np.full((rows, 1), np.ldexp(step.fill, fraction), np.int64)
        parts = [value.at(fraction) for value in values]
        parts = [part.reshape(rows, int(np.prod(part.shape[1:]))) for part in parts]
        flat = np.concatenate([*parts, fill], axis=1)
        return FixedPointArray(flat[:, step.indices], fraction)

    def linear(self, value: FixedPointArray, step: Linear) -> FixedPointArray:
        """Multiply by a matrix."""
        fraction = _fraction(step.matrix)
        matrix = _integers(step.matrix, fraction)
        largest = np.abs(value.integers).max(initial=0)
        _check(float(largest) * float(np.abs(matrix).sum(axis=0).max(initial=0)), step.layer)
        return FixedPointArray(value.integers @ matrix, value.fraction + fraction)

    def scale(self, value: FixedPointArray, step: Scale) -> FixedPointArray:
        """Multiply by constants."""
        fraction = _fraction(step.factors)
        factors = _integers(step.factors, fraction)
        _check(
            float(np.abs(value.integers).max(initial=0)) * float(np.abs(factors).max(initial=0)), step.layer
        )
        return FixedPointArray(value.integers * factors, value.fraction + fraction)

    def offset(self, value: FixedPointArray, step: Offset) -> FixedPointArray:
        """Add constants."""
        fraction = max(value.fraction, _fraction(step.terms))
        return FixedPointArray(value.at(fraction) + _integers(step.terms, fraction), fraction)

    def add(self, first: FixedPointArray, second: FixedPointArray, step: Add) -> FixedPointArray:
        """Add two values."""
        del step
        fraction = max(first.fraction, second.fraction)
        return FixedPointArray(first.at(fraction) + second.at(fraction), fraction)

    def multiply(self, first: FixedPointArray, second: FixedPointArray, step: Multiply) -> FixedPointArray:
        """Multiply two values."""
        _check(
            float(np.abs(first.integers).max(initial=0)) * float(np.abs(second.integers).max(initial=0)),
            step.layer,
        )
        return FixedPointArray(first.integers * second.integers, first.fraction + second.fraction)

    def maximum(self, first: FixedPointArray, second: FixedPointArray, step: Maximum) -> FixedPointArray:
        """Return the larger of two values."""
        del step
        fraction = max(first.fraction, second.fraction)
        return FixedPointArray(np.maximum(first.at(fraction), second.at(fraction)), fraction)

    def round(self, value: FixedPointArray, step: Round) -> FixedPointArray:
        """Round to integers."""
        shift = value.fraction
        if shift <= 0:
            return value
        whole = value.integers >> shift
        if step.rounding is Rounding.HALF_EVEN:
            rest, half = value.integers - (whole << shift), 1 << (shift - 1)
            whole += (rest > half) | ((rest == half) & (whole & 1 == 1))
        return FixedPointArray(whole, 0)

    def clip(self, value: FixedPointArray, step: Clip) -> FixedPointArray:
        """Limit to bounds."""
        bounds = np.stack([step.low, step.high])
        fraction = max(value.fraction, _fraction(np.where(np.isfinite(bounds), bounds, 0)))
        integers = value.at(fraction)
        limits = np.where(
            np.isfinite(bounds), np.ldexp(bounds, fraction), np.copysign(2.0**INTEGER_BITS, bounds)
        )
        low, high = np.clip(limits, -(2.0**INTEGER_BITS), 2.0**INTEGER_BITS).astype(np.int64)
        return FixedPointArray(np.clip(integers, low, high), fraction)

    def wrap(self, value: FixedPointArray, step: Wrap) -> FixedPointArray:
        """Return remainders; those of the two's complement are the low bits."""
        fraction = max(value.fraction, _fraction(step.moduli))
        moduli = _integers(step.moduli, fraction)
        return FixedPointArray(value.at(fraction) & (moduli - 1), fraction)

    def look_up(self, value: FixedPointArray, step: LookUp) -> FixedPointArray:
        """Read a table."""
        fraction = _fraction(step.table)
        return FixedPointArray(
            _integers(step.table, fraction)[(value.integers >> value.fraction) - step.low], fraction
        )

    def trees(self, value: FixedPointArray, step: Trees) -> FixedPointArray:
        """Sum the leaves that each row reaches."""
        forest = step.forest
        fraction = _fraction(forest.leaves)
        leaves = _integers(forest.leaves, fraction)
        thresholds = np.floor(np.ldexp(forest.thresholds, value.fraction))
        limit = 2.0**INTEGER_BITS
        thresholds = np.clip(thresholds, -limit, limit).astype(np.int64)
        rows = np.arange(len(value.integers))
        total = np.zeros((len(rows), leaves.shape[1]), np.int64)
        for root in forest.roots:
            at = np.full(len(rows), root)
            while (inner := at >= 0).any():
                node = at[inner]
                is_yes = value.integers[rows[inner], forest.features[node]] <= thresholds[node]
                at[inner] = np.where(is_yes, forest.yes[node], forest.no[node])
            total += leaves[-1 - at]
        return FixedPointArray(total, fraction)


def _fraction(values: np.ndarray) -> int:
    """Return the fraction bits that all values share; those of zeros are free."""
    most = int(fraction_bits(values).max(initial=FRACTION_OF_ZERO))
    return 0 if most == FRACTION_OF_ZERO else most


def _integers(values: np.ndarray, fraction: int) -> np.ndarray:
    return np.rint(np.ldexp(values, fraction)).astype(np.int64)


def _check(bound: float, layer: str) -> None:
    if bound >= 2.0**INTEGER_BITS:
        raise ModelError(
            f"the layer {layer} needs sums of up to {np.log2(bound):.0f} bits, more than the {INTEGER_BITS} of exact emulation"
        )
