"""Neighbouring outputs of a convolution as a product of polynomials: sums of inputs, products with what stands for the weights, sums of these.

The places at which polynomials are evaluated are 0, five eighths and five quarters with both signs, and infinity: rounding errors
are then less than twice those of the sum itself; with the usual 1 and 2, or more outputs at a time, they would be several times that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from tamis.native.expression import Call, Expression, Number


@dataclass(frozen=True)
class Tiling:
    """How neighbouring outputs are made of products: evaluated at 0, at each of the places with both signs, and at infinity."""

    kernel: int
    places: tuple[float, ...]

    @property
    def size(self) -> int:
        """Return how many inputs a tile reads, and how many products it takes."""
        return 2 * len(self.places) + 2

    @property
    def outputs(self) -> int:
        """Return how many outputs a tile has."""
        return self.size - self.kernel + 1

    def weights(self, kernel: np.ndarray) -> np.ndarray:
        """Return what stands for the weights on the last axis, evaluated and scaled; the new axis is the first."""
        return self._evaluated(kernel.astype(np.float64)).astype(np.float32)

    def _evaluated(self, kernel: np.ndarray) -> np.ndarray:
        points = [0.0, *(sign * place for place in self.places for sign in (1.0, -1.0))]
        found = []
        for number, point in enumerate(points):
            scale = prod(point - other for place, other in enumerate(points) if place != number)
            found.append(sum(kernel[..., k] * point**k for k in range(self.kernel)) / scale)
        return np.stack([*found, kernel[..., -1]])

    def level(self) -> np.ndarray:
        """Return what products have to begin with for outputs that begin with one."""
        every = sum(_polynomial([place**2 for place in self.places]))  # the sums of inputs that are one
        sums = [every]
        for place in self.places:
            rest = sum(_polynomial([other**2 for other in self.places if other != place]))
            sums += [rest * (1 + place), rest * (1 - place)]
        first = np.zeros(self.kernel)
        first[0] = 1.0
        return np.array([*sums, every]) * self._evaluated(first)

    def spread(self, x: Sequence[Expression]) -> tuple[Expression, ...]:
        """Return the sums of a tile's inputs; the last input is in the last sum alone."""
        every = _polynomial([place**2 for place in self.places])  # zero at all places
        found = [_sum(every, x[0::2])]
        for place in self.places:
            rest = _polynomial([other**2 for other in self.places if other != place])
            straight, turned = _sum(rest, x[2::2]), _sum(rest, x[1::2])
            found += [_fma(place, turned, straight), _fma(-place, turned, straight)]
        return (*found, _sum(every, x[1::2]))

    def collect(self, products: Sequence[Expression]) -> tuple[Expression, ...]:
        """Return a tile's outputs as sums of its products."""
        pairs = [(products[2 * i + 1], products[2 * i + 2]) for i in range(len(self.places))]
        plus = [plain("add", one, other) for one, other in pairs]
        minus = [plain("sub", one, other) for one, other in pairs]
        found = []
        for output in range(self.outputs):
            edge = {0: products[0], self.outputs - 1: products[-1]}.get(output)
            terms = [(p**output, t) for p, t in zip(self.places, minus if output % 2 else plus, strict=True)]
            if edge is None:
                (factor, term), *terms = terms
                edge = term if factor == 1.0 else plain("mul", term, Number(factor, term.shape))
            for factor, term in terms:
                edge = _fma(factor, term, edge)
            found.append(edge)
        return tuple(found)


TILINGS = (Tiling(3, (0.625, 1.25)), Tiling(3, (1.0,)), Tiling(5, (0.625, 1.25)))


def _polynomial(roots: Sequence[float]) -> list[float]:
    """Return the coefficients of the product of (x - root), the lowest first."""
    found = [1.0]
    for root in roots:
        found = [a - root * b for a, b in zip([0.0, *found], [*found, 0.0], strict=True)]
    return found


def _sum(factors: Sequence[float], terms: Sequence[Expression]) -> Expression:
    """Return the sum of factors times terms, as many as there are factors; the last factor is one."""
    value = terms[len(factors) - 1]
    for factor, term in reversed(list(zip(factors[:-1], terms, strict=False))):
        value = _fma(factor, term, value)
    return value


def _fma(factor: float, term: Expression, value: Expression) -> Expression:
    if abs(factor) == 1.0:
        return plain("add" if factor > 0 else "sub", value, term)
    return plain("fma", term, Number(factor, term.shape), value)


def plain(function: str, *arguments: Expression) -> Call:
    """Apply a function to expressions of one shape."""
    return Call(function, arguments, arguments[0].shape)
