"""Integer programs: what a quantised network computes, as a list of exact steps on tensors of dyadic numbers.

A program is the part of an ONNX graph that hardware computes with integers. Its steps are few (a gather, a product with a
constant matrix, sums, rounding, clipping, tables), and every evaluator of programs, exact emulation, ranges, hardware or
counts, is one class with a method per kind of step. Shapes leave out the batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

import numpy as np

Shape = tuple[int, ...]


class Rounding(Enum):
    """How a number becomes an integer; HLS's names are in brackets."""

    FLOOR = "floor"  # TRN
    HALF_EVEN = "half to even"  # RND_CONV


@dataclass(frozen=True)
class Step:
    """One operation: it reads values by their index in the program and makes the next value, of a shape."""

    layer: str
    inputs: tuple[int, ...]
    shape: Shape

    def apply(self, domain: Domain, values: list[Any]) -> Any:
        """Evaluate the step in a domain."""
        raise NotImplementedError


class Domain(Protocol):
    """An evaluator of programs: one method for each kind of step."""

    def take(self, values: list[Any], step: Take) -> Any:
        """Gather elements from all inputs, flattened and joined."""

    def linear(self, value: Any, step: Linear) -> Any:
        """Multiply the last axis by a matrix."""

    def scale(self, value: Any, step: Scale) -> Any:
        """Multiply by constants, element by element."""

    def offset(self, value: Any, step: Offset) -> Any:
        """Add constants, element by element."""

    def add(self, first: Any, second: Any, step: Add) -> Any:
        """Add two values of one shape."""

    def multiply(self, first: Any, second: Any, step: Multiply) -> Any:
        """Multiply two values of one shape, element by element."""

    def maximum(self, first: Any, second: Any, step: Maximum) -> Any:
        """Return the larger of two values of one shape, element by element."""

    def round(self, value: Any, step: Round) -> Any:
        """Round to integers."""

    def clip(self, value: Any, step: Clip) -> Any:
        """Limit to bounds."""

    def wrap(self, value: Any, step: Wrap) -> Any:
        """Return the remainder of a division, which is never negative."""

    def look_up(self, value: Any, step: LookUp) -> Any:
        """Replace each integer by an entry of a table."""

    def trees(self, value: Any, step: Trees) -> Any:
        """Sum the leaves of decision trees."""


@dataclass(frozen=True)
class Take(Step):
    """Element `i` of the result is element `indices[i]` of the inputs, flattened and joined; -1 is the constant `fill`."""

    indices: np.ndarray
    fill: float = 0.0

    def apply(self, domain: Domain, values: list[Any]) -> Any:
        """Evaluate the step in a domain."""
        return domain.take(values, self)


@dataclass(frozen=True)
class Linear(Step):
    """The last axis times a matrix: (..., K) x (K, M) -> (..., M)."""

    matrix: np.ndarray

    def apply(self, domain: Domain, values: list[Any]) -> Any:
        """Evaluate the step in a domain."""
        return domain.linear(values[0], self)


@dataclass(frozen=True)
class Scale(Step):
    """Times constants of the value's shape."""

    factors: np.ndarray

    def apply(self, domain: Domain, values: list[Any]) -> Any:
        """Evaluate the step in a domain."""
        return domain.scale(values[0], self)


@dataclass(frozen=True)
class Offset(Step):
    """Plus constants of the value's shape."""

    terms: np.ndarray

    def apply(self, domain: Domain, values: list[Any]) -> Any:
        """Evaluate the step in a domain."""
        return domain.offset(values[0], self)


@dataclass(frozen=True)
class Add(Step):
    """The sum of two values."""

    def apply(self, domain: Domain, values: list[Any]) -> Any:
        """Evaluate the step in a domain."""
        return domain.add(values[0], values[1], self)


@dataclass(frozen=True)
class Multiply(Step):
    """The product of two values, element by element."""

    def apply(self, domain: Domain, values: list[Any]) -> Any:
        """Evaluate the step in a domain."""
        return domain.multiply(values[0], values[1], self)


@dataclass(frozen=True)
class Maximum(Step):
    """The larger of two values, element by element."""

    def apply(self, domain: Domain, values: list[Any]) -> Any:
        """Evaluate the step in a domain."""
        return domain.maximum(values[0], values[1], self)


@dataclass(frozen=True)
class Round(Step):
    """Rounded to integers."""

    rounding: Rounding

    def apply(self, domain: Domain, values: list[Any]) -> Any:
        """Evaluate the step in a domain."""
        return domain.round(values[0], self)


@dataclass(frozen=True)
class Clip(Step):
    """Limited to bounds of the value's shape, which may be infinite."""

    low: np.ndarray
    high: np.ndarray

    def apply(self, domain: Domain, values: list[Any]) -> Any:
        """Evaluate the step in a domain."""
        return domain.clip(values[0], self)


@dataclass(frozen=True)
class Wrap(Step):
    """The remainder after division by powers of two of the value's shape: 0 <= result < modulus."""

    moduli: np.ndarray

    def apply(self, domain: Domain, values: list[Any]) -> Any:
        """Evaluate the step in a domain."""
        return domain.wrap(values[0], self)


@dataclass(frozen=True)
class LookUp(Step):
    """Integer `n` becomes `table[n - low]`."""

    table: np.ndarray
    low: int

    def apply(self, domain: Domain, values: list[Any]) -> Any:
        """Evaluate the step in a domain."""
        return domain.look_up(values[0], self)


@dataclass(frozen=True)
class Forest:
    """Decision trees as arrays over all nodes: `x[feature] <= threshold` leads to `yes`, else to `no`; leaf `i` is child `-1 - i`."""

    features: np.ndarray
    thresholds: np.ndarray
    yes: np.ndarray
    no: np.ndarray
    roots: np.ndarray  # of each tree: a node, or a leaf as -1 - i
    leaves: np.ndarray  # (leaves, outputs)

    def owners(self) -> np.ndarray:
        """Return the tree of each leaf."""
        owners = np.zeros(len(self.leaves), np.int64)
        for tree, root in enumerate(self.roots):
            waiting = [int(root)]
            while waiting:
                node = waiting.pop()
                if node < 0:
                    owners[-1 - node] = tree
                else:
                    waiting += [int(self.yes[node]), int(self.no[node])]
        return owners


@dataclass(frozen=True)
class Trees(Step):
    """The sum of the leaves that a vector of features reaches, one per tree."""

    forest: Forest

    def apply(self, domain: Domain, values: list[Any]) -> Any:
        """Evaluate the step in a domain."""
        return domain.trees(values[0], self)


@dataclass(frozen=True)
class ProgramInput:
    """An input of a program: the tensor of the ONNX graph that it is, and the multiples of 2^-fraction that it may hold."""

    tensor: str
    shape: Shape
    low: np.ndarray
    high: np.ndarray
    fraction: np.ndarray


@dataclass(frozen=True)
class FixedProgram:
    """Inputs and steps, whose values are numbered in this order, and the values that are outputs."""

    inputs: tuple[ProgramInput, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    output_tensors: tuple[str, ...] = field(default=())

    def evaluate(self, domain: Domain, inputs: list[Any]) -> list[Any]:
        """Return every value of the program."""
        values = list(inputs)
        for step in self.steps:
            values.append(step.apply(domain, [values[index] for index in step.inputs]))
        return values

    def shape(self, value: int) -> Shape:
        """Return the shape of a value."""
        count = len(self.inputs)
        return self.inputs[value].shape if value < count else self.steps[value - count].shape
