"""Sizes between those that were evaluated: most integers of a graph are polynomials in its number of particles.

A model is evaluated on the smallest sizes one by one, on some between and on the largest ones. An integer that is the same polynomial at all of
them is taken for it between them as well; where one is not, every size is evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

SMALLEST_ROWS, MIDDLE_ROWS, LARGEST_ROWS = (
    7,
    9,
    2,
)  # sizes that are evaluated: the smallest, some between, the largest
TERMS_ROWS = 2  # sizes between that are evaluated for each factor of a polynomial in several variables
POLYNOMIAL_DEGREE = 3  # of the polynomials
LARGEST_DIVISOR = 64  # of a size that is rounded down, as that after strides is
PLACES_PER_DIVISOR = 4  # at least, so that a step is not taken for rounding
DIVISOR = 6  # of their integer factors: n (n - 1) (n - 2) / 6 is one


@dataclass(frozen=True)
class Traced:
    """What a model makes of an event of one size: shapes by tensor, and the tensors that depend on the size alone."""

    shapes: Mapping[str, tuple[int, ...]]
    known: Mapping[str, np.ndarray]


def evaluated_rows(first: int, count: int, dimensions: int = 1) -> list[int]:
    """Return the rows to evaluate of those from `first` to below `count`; all if they are few."""
    middle = MIDDLE_ROWS if dimensions == 1 else TERMS_ROWS * len(_powers(dimensions))
    if count - first <= SMALLEST_ROWS + middle + LARGEST_ROWS:
        return list(range(first, count))
    begin, end = first + SMALLEST_ROWS, count - LARGEST_ROWS
    between = {begin + (end - begin) * part // middle for part in range(middle)}
    return sorted({*range(first, begin), *between, *range(end, count)})


def interpolated(variable: np.ndarray, traced: Mapping[int, Traced]) -> list[Traced] | None:
    """Return all rows from the first traced one on, given the sizes in each row, (rows, dimensions); None if an integer is not a polynomial in them."""
    rows = sorted(traced)
    every = range(rows[0], len(variable))
    x, wanted = variable[rows], variable[rows[0] :]
    shapes = _shapes(x, wanted, [traced[row].shapes for row in rows])
    if shapes is None:
        return None
    known: list[dict[str, np.ndarray]] = [{} for _ in every]
    for name in traced[rows[0]].known:
        found = _tensor(x, wanted, [traced[row].known[name] for row in rows], [one[name] for one in shapes])
        if found is None:
            return None
        for one, value in zip(known, found, strict=True):
            one[name] = value
    for row, own in traced.items():
        known[row - rows[0]].update(own.known)
    return [Traced(shape, own) for shape, own in zip(shapes, known, strict=True)]


def _shapes(
    x: np.ndarray, wanted: np.ndarray, shapes: Sequence[Mapping[str, tuple[int, ...]]]
) -> list[dict[str, tuple[int, ...]]] | None:
    found: list[dict[str, tuple[int, ...]]] = [{} for _ in wanted]
    for name in shapes[0]:
        own = [one[name] for one in shapes]
        if len({len(one) for one in own}) > 1:
            return None
        axes = [polynomial(x, np.array(axis), wanted) for axis in zip(*own, strict=True)]
        if any(axis is None for axis in axes):
            return None
        table = np.stack(axes, axis=1).tolist() if axes else [()] * len(wanted)  # type: ignore[arg-type]
        for one, shape in zip(found, table, strict=True):
            one[name] = tuple(shape)
    return found


def _tensor(
    x: np.ndarray, wanted: np.ndarray, values: Sequence[np.ndarray], shapes: Sequence[tuple[int, ...]]
) -> list[np.ndarray] | None:
    """Return a tensor in all rows: the same, a part of the last one, or a polynomial in each element."""
    last = values[-1]
    if all(one.shape == last.shape for one in values):
        if all(np.array_equal(one, last, equal_nan=last.dtype.kind == "f") for one in values):
            return [last] * len(wanted)
        if last.dtype.kind not in "iu":
            return None
        columns = [polynomial(x, column, wanted) for column in np.stack([one.ravel() for one in values]).T]
        if any(one is None for one in columns):
            return None
        table = np.stack(columns, axis=1)  # type: ignore[arg-type]
        return [row.reshape(last.shape).astype(last.dtype) for row in table]
    fits = all(np.array_equal(last[corner(one.shape)], one) for one in values)
    return [last[corner(shape)] for shape in shapes] if fits else None


def corner(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the indices of the part of an array that has a shape and begins where the array does."""
    return tuple(slice(size) for size in shape)


def polynomial(x: np.ndarray, y: np.ndarray, wanted: np.ndarray) -> np.ndarray | None:
    """Return integers at other places, of the polynomial that is exact at all given ones; None if no low degree fits."""
    if (y == y[0]).all():
        return np.full(len(wanted), y[0], np.int64)
    fitted = fit(x, y)
    return None if fitted is None else fitted(wanted)


@dataclass(frozen=True)
class Polynomial:
    """A sum of products of powers, divided by an integer and rounded down, and at most some number."""

    factors: Mapping[tuple[int, ...], int]  # by the power of each variable
    divisor: int = DIVISOR
    most: int | None = None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return its values at some places, (places, variables)."""
        terms = (factor * (x**powers).prod(axis=1) for powers, factor in self.factors.items())
        found = sum(terms, np.zeros(len(x), np.int64)) // self.divisor
        return found if self.most is None else np.minimum(found, self.most)


def fit(x: np.ndarray, y: np.ndarray) -> Polynomial | None:
    """Return a polynomial, or a linear function that is rounded down or cut off, that is exact at all places, (places, variables); None if no such function is."""
    found = _exact(x, y) or _rounded_down(x, y)
    if found is None:
        below = y < y.max()
        found = _rounded_down(x[below], y[below])
        found = None if found is None else replace(found, most=int(y.max()))
    return found if found is not None and (found(x) == y).all() else None


def _powers(dimensions: int, degree: int = POLYNOMIAL_DEGREE) -> list[tuple[int, ...]]:
    return [one for one in product(range(degree + 1), repeat=dimensions) if sum(one) <= degree]


def _factors(x: np.ndarray, y: np.ndarray, powers: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Return the factors of the closest polynomial."""
    scale = float(x.max())
    terms = np.stack([((x / scale) ** one).prod(axis=1) for one in powers], axis=1)
    fitted = np.linalg.lstsq(terms, y.astype(np.float64), rcond=None)[0]
    return np.array([one / scale ** sum(own) for one, own in zip(fitted, powers, strict=True)])


def _exact(x: np.ndarray, y: np.ndarray) -> Polynomial | None:
    powers = _powers(x.shape[1])
    if len(x) <= len(powers):
        return None
    factors = DIVISOR * _factors(x, y, powers)
    found = Polynomial({own: round(one) for one, own in zip(factors, powers, strict=True) if round(one)})
    return found if (found(x) == y).all() else None


def _rounded_down(x: np.ndarray, y: np.ndarray) -> Polynomial | None:
    """Return the linear function with the smallest divisor; None unless the places leave only one."""
    constant, *linear = powers = sorted(_powers(x.shape[1], 1), key=sum)
    if len(x) <= 2 * len(powers):
        return None
    slopes = _factors(x, y, powers)[1:]
    for divisor in range(1, 1 + min(LARGEST_DIVISOR, len(x) // PLACES_PER_DIVISOR)):
        factors = np.rint(slopes * divisor).astype(np.int64)
        least = y * divisor - x[:, [one.index(1) for one in linear]] @ factors
        if least.max() == (least + divisor - 1).min():
            whole = dict(zip(linear, factors.tolist(), strict=True)) | {constant: int(least.max())}
            return Polynomial({own: one for own, one in whole.items() if one}, divisor)
    return None
