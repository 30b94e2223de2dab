"""Rows of a segment: groups of results that the same logic computes from different elements, so that one copy of it serves them in turn."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tamis.firmware.folded.compact import Leaf
from tamis.fixedpoint import FixedProgram
from tamis.fixedpoint.program import (
    Add,
    Clip,
    Linear,
    LookUp,
    Maximum,
    Multiply,
    Offset,
    Round,
    Scale,
    Step,
    Take,
    Trees,
    Wrap,
)


class Element(NamedTuple):
    """A result as a function, by its number, of leaves; two elements of one function differ in their leaves only."""

    function: int
    leaves: tuple[Leaf, ...]


class SharedRow(NamedTuple):
    """Results, by their place in the output, that share their leaves."""

    leaves: tuple[Leaf, ...]
    results: tuple[int, ...]


@dataclass(frozen=True)
class SharedRows:
    """Rows that one copy of logic computes: leaf `i` of each has the same part in it."""

    rows: tuple[SharedRow, ...]


def rows_of(program: FixedProgram) -> list[SharedRows]:
    """Return the rows of a compact program's output."""
    domain = _Structure()
    inputs = [
        _array(
            [Element(domain.number("leaf"), ((index, place),)) for place in range(one.shape[0])], one.shape
        )
        for index, one in enumerate(program.inputs)
    ]
    results = program.evaluate(domain, inputs)[program.outputs[0]]
    by_leaves: dict[tuple[Leaf, ...], list[tuple[int, int]]] = {}
    for place, element in enumerate(results.ravel()):
        by_leaves.setdefault(element.leaves, []).append((element.function, place))
    by_functions: dict[tuple[int, ...], list[SharedRow]] = {}
    for leaves, members in by_leaves.items():
        members.sort()
        functions = tuple(function for function, _ in members)
        by_functions.setdefault(functions, []).append(SharedRow(leaves, tuple(place for _, place in members)))
    return [SharedRows(tuple(rows)) for rows in by_functions.values()]


def _array(elements: list[Element], shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(len(elements), object)
    for index, element in enumerate(elements):
        array[index] = element
    return array.reshape(shape)


class _Structure:
    """Evaluates a program on elements."""

    def __init__(self) -> None:
        self.numbers: dict[Hashable, int] = {}

    def number(self, *key: Hashable) -> int:
        """Return the number of a function."""
        return self.numbers.setdefault(key, len(self.numbers))

    def take(self, values: list[np.ndarray], step: Take) -> np.ndarray:
        """Gather elements."""
        fill = _array([Element(self.number("constant", step.fill), ())], (1,))
        flat = np.concatenate([*(value.ravel() for value in values), fill])
        return np.asarray(flat[step.indices])

    def linear(self, value: np.ndarray, step: Linear) -> np.ndarray:
        """Multiply rows by a matrix."""
        columns = [column.tobytes() for column in step.matrix.T]
        results = []
        for row in value.reshape(-1, value.shape[-1]):
            leaves, places = _merged(row)
            inner = self.number("row", tuple(element.function for element in row), places)
            results += [Element(self.number("sum", column, inner), leaves) for column in columns]
        return _array(results, step.shape)

    def scale(self, value: np.ndarray, step: Scale) -> np.ndarray:
        """Multiply by constants."""
        return self._each(value, "scale", step.factors)

    def offset(self, value: np.ndarray, step: Offset) -> np.ndarray:
        """Add constants."""
        return self._each(value, "offset", step.terms)

    def clip(self, value: np.ndarray, step: Clip) -> np.ndarray:
        """Limit to bounds."""
        return self._each(value, "clip", step.low, step.high)

    def wrap(self, value: np.ndarray, step: Wrap) -> np.ndarray:
        """Return remainders."""
        return self._each(value, "wrap", step.moduli)

    def round(self, value: np.ndarray, step: Round) -> np.ndarray:
        """Round to integers."""
        return self._each(value, ("round", step.rounding))

    def look_up(self, value: np.ndarray, step: LookUp) -> np.ndarray:
        """Read a table."""
        return self._each(value, ("table", step.low, step.table.tobytes()))

    def add(self, first: np.ndarray, second: np.ndarray, step: Add) -> np.ndarray:
        """Add two values."""
        return self._pairs(first, second, step)

    def multiply(self, first: np.ndarray, second: np.ndarray, step: Multiply) -> np.ndarray:
        """Multiply two values."""
        return self._pairs(first, second, step)

    def maximum(self, first: np.ndarray, second: np.ndarray, step: Maximum) -> np.ndarray:
        """Return the larger of two values."""
        return self._pairs(first, second, step)

    def trees(self, value: np.ndarray, step: Trees) -> np.ndarray:
        """Sum the leaves of trees."""
        leaves, places = _merged(value.ravel())
        inner = self.number("row", tuple(element.function for element in value.ravel()), places)
        return _array(
            [Element(self.number("trees", id(step), place, inner), leaves) for place in range(step.shape[0])],
            step.shape,
        )

    def _each(self, value: np.ndarray, kind: Hashable, *constants: np.ndarray) -> np.ndarray:
        keys = zip(*(array.ravel().tolist() for array in constants), strict=True) if constants else ()
        flat = value.ravel()
        numbered = [
            Element(self.number(kind, key, element.function), element.leaves)
            for element, key in zip(flat, keys if constants else [()] * len(flat), strict=True)
        ]
        return _array(numbered, value.shape)

    def _pairs(self, first: np.ndarray, second: np.ndarray, step: Step) -> np.ndarray:
        results = []
        for pair in zip(first.ravel(), second.ravel(), strict=True):
            leaves, places = _merged(pair)
            functions = tuple(element.function for element in pair)
            results.append(Element(self.number(type(step).__name__, functions, places), leaves))
        return _array(results, step.shape)


def _merged(elements: np.ndarray | tuple[Element, ...]) -> tuple[tuple[Leaf, ...], Hashable]:
    """Return the leaves of elements, each once, and where those of each element are among them."""
    leaves = dict.fromkeys(leaf for element in elements for leaf in element.leaves)
    numbers = {leaf: number for number, leaf in enumerate(leaves)}
    places = tuple(tuple(numbers[leaf] for leaf in element.leaves) for element in elements)
    return tuple(leaves), places
