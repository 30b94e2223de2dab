"""Neighbouring outputs of a convolution as a product of polynomials: sums of inputs, products with sums of weights, sums of products.

The polynomials are evaluated at 0, at 5/8 and 5/4 with both signs, and at infinity: rounding errors are then less than twice those of
the sum itself. With the usual points 1 and 2, or with more outputs at a time, they would be several times that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from tamis.native.expression import Call, Expression, Number


@dataclass(frozen=True)
class Tiling:
    """A tile: its kernel, and the points (besides 0 and infinity) at which polynomials are evaluated, with both signs each."""

    kernel: int
    points: tuple[float, ...]

    @property
    def size(self) -> int:
        """Return the number of inputs of a tile, which is also that of its products."""
        return 2 * len(self.points) + 2

    @property
    def outputs(self) -> int:
        """Return the number of outputs of a tile."""
        return self.size - self.kernel + 1

    def weights(self, kernel: np.ndarray) -> np.ndarray:
        """Return the kernel's polynomial (..., kernel) evaluated at each point, scaled; points are the new first axis."""
        return self._evaluated(kernel.astype(np.float64)).astype(np.float32)

    def _evaluated(self, kernel: np.ndarray) -> np.ndarray:
        points = [0.0, *(sign * point for point in self.points for sign in (1.0, -1.0))]
        values = []
        for number, point in enumerate(points):
            scale = prod(point - other for place, other in enumerate(points) if place != number)
            values.append(sum(kernel[..., k] * point**k for k in range(self.kernel)) / scale)
        return np.stack([*values, kernel[..., -1]])

    def product_bias(self) -> np.ndarray:
        """Return the biases of the products that give outputs with a bias of one."""
        total = sum(_polynomial([point**2 for point in self.points]))  # the input sums of ones
        sums = [total]
        for point in self.points:
            rest = sum(_polynomial([other**2 for other in self.points if other != point]))
            sums += [rest * (1 + point), rest * (1 - point)]
        first = np.zeros(self.kernel)
        first[0] = 1.0
        return np.array([*sums, total]) * self._evaluated(first)

    def input_sums(self, x: Sequence[Expression]) -> tuple[Expression, ...]:
        """Return the sums of a tile's inputs; the last input occurs only in the last sum."""
        total = _polynomial([point**2 for point in self.points])  # zero at all points
        sums = [_sum(total, x[0::2])]
        for point in self.points:
            rest = _polynomial([other**2 for other in self.points if other != point])
            even, odd = _sum(rest, x[2::2]), _sum(rest, x[1::2])
            sums += [_fma(point, odd, even), _fma(-point, odd, even)]
        return (*sums, _sum(total, x[1::2]))

    def outputs_of(self, products: Sequence[Expression]) -> tuple[Expression, ...]:
        """Return a tile's outputs as sums of its products."""
        pairs = [(products[2 * i + 1], products[2 * i + 2]) for i in range(len(self.points))]
        plus = [plain_call("add", one, other) for one, other in pairs]
        minus = [plain_call("sub", one, other) for one, other in pairs]
        outputs = []
        for output in range(self.outputs):
            value = {0: products[0], self.outputs - 1: products[-1]}.get(output)
            terms = [(p**output, t) for p, t in zip(self.points, minus if output % 2 else plus, strict=True)]
            if value is None:
                (factor, term), *terms = terms
                value = term if factor == 1.0 else plain_call("mul", term, Number(factor, term.shape))
            for factor, term in terms:
                value = _fma(factor, term, value)
            outputs.append(value)
        return tuple(outputs)


TILINGS = (Tiling(3, (0.625, 1.25)), Tiling(3, (1.0,)), Tiling(5, (0.625, 1.25)))


def _polynomial(roots: Sequence[float]) -> list[float]:
    """Return the coefficients of the product of (x - root), lowest first."""
    coefficients = [1.0]
    for root in roots:
        shifted, padded = [0.0, *coefficients], [*coefficients, 0.0]
        coefficients = [a - root * b for a, b in zip(shifted, padded, strict=True)]
    return coefficients


def _sum(factors: Sequence[float], terms: Sequence[Expression]) -> Expression:
    """Return the sum of factors times the first terms; the last factor is 1."""
    value = terms[len(factors) - 1]
    for factor, term in reversed(list(zip(factors[:-1], terms, strict=False))):
        value = _fma(factor, term, value)
    return value


def _fma(factor: float, term: Expression, value: Expression) -> Expression:
    if abs(factor) == 1.0:
        return plain_call("add" if factor > 0 else "sub", value, term)
    return plain_call("fma", term, Number(factor, term.shape), value)


def plain_call(function: str, *arguments: Expression) -> Call:
    """Apply a function to expressions of one shape."""
    return Call(function, arguments, arguments[0].shape)
