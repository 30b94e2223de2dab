"""Sizes between those that were evaluated: most integers of a graph are polynomials in its number of particles.

A model is evaluated on the smallest sizes one by one, on some between and on the largest ones. An integer that is the same polynomial at all of
them is taken for it between them as well; where one is not, every size is evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SMALLEST_ROWS, MIDDLE_ROWS, LARGEST_ROWS = (
    7,
    9,
    2,
)  # sizes that are evaluated: the smallest, some between, the largest
POLYNOMIAL_DEGREE = 3  # of the polynomials
NEAR_INTEGER = 1e-6  # how far a polynomial may be from an integer, by rounding


@dataclass(frozen=True)
class Traced:
    """What a model makes of an event of one size: shapes by tensor, and the tensors that depend on the size alone."""

    shapes: Mapping[str, tuple[int, ...]]
    known: Mapping[str, np.ndarray]


def evaluated_rows(first: int, count: int) -> list[int]:
    """Return the rows to evaluate of those from `first` to below `count`; all if they are few."""
    if count - first <= SMALLEST_ROWS + MIDDLE_ROWS + LARGEST_ROWS:
        return list(range(first, count))
    begin, end = first + SMALLEST_ROWS, count - LARGEST_ROWS
    between = {begin + (end - begin) * part // MIDDLE_ROWS for part in range(MIDDLE_ROWS)}
    return sorted({*range(first, begin), *between, *range(end, count)})


def interpolated(variable: Sequence[int], traced: Mapping[int, Traced]) -> list[Traced] | None:
    """Return all rows, given some of them and the size of each row; None if an integer is not a polynomial in the size."""
    rows = sorted(traced)
    every = range(rows[0], len(variable))
    x, wanted = np.array([variable[row] for row in rows]), np.array([variable[row] for row in every])
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
    fits = all(np.array_equal(last[_corner(one.shape)], one) for one in values)
    return [last[_corner(shape)] for shape in shapes] if fits else None


def _corner(shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(size) for size in shape)


def polynomial(x: np.ndarray, y: np.ndarray, wanted: np.ndarray) -> np.ndarray | None:
    """Return integers at other places, of the polynomial that is exact at all given ones; None if no low degree fits."""
    if (y == y[0]).all():
        return np.full(len(wanted), y[0], np.int64)
    if len(x) <= POLYNOMIAL_DEGREE + 2:
        return None
    scale = float(wanted.max())
    fitted = np.polynomial.polynomial.polyfit(x / scale, y.astype(np.float64), POLYNOMIAL_DEGREE)
    whole = [np.polynomial.polynomial.polyval(one / scale, fitted) for one in (x, wanted)]
    rounded = [np.rint(one) for one in whole]
    near = all(
        (np.abs(a - b) <= NEAR_INTEGER * (1 + np.abs(b))).all() for a, b in zip(whole, rounded, strict=True)
    )
    return rounded[1].astype(np.int64) if near and (rounded[0] == y).all() else None
