"""A node of an ONNX graph and the steps that it becomes: what every operator needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import onnx
from onnx import helper

from tamis.fixedpoint.grids import FixedGrid
from tamis.fixedpoint.program import (
    Add,
    Clip,
    Linear,
    Maximum,
    Multiply,
    Offset,
    Scale,
    Shape,
    Step,
    Take,
)


class Inexact(Exception):  # noqa: N818 - it says why a node stays outside the program, and never leaves the package
    """A node that has no exact fixed-point form, with the reason."""


class Builder(Protocol):
    """What operators need of the translation of a graph."""

    model: onnx.ModelProto
    constants: dict[str, np.ndarray]
    core: dict[str, int]

    def append(self, step: Step) -> int:
        """Append a step and return its value."""

    def range_of(self, value: int) -> FixedGrid:
        """Return the range of a value."""


class Operands:
    """A node's inputs and attributes, and the steps that it becomes."""

    def __init__(self, builder: Builder, node: onnx.NodeProto, layer: str) -> None:
        """Look at one node."""
        self.builder, self.node, self.layer = builder, node, layer
        self.attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        self.constants = [builder.constants.get(name) if name else None for name in node.input]
        self.values = [builder.core.get(name) if name else None for name in node.input]

    def shape(self, value: int) -> Shape:
        """Return a value's shape without the batch."""
        return self.builder.range_of(value).low.shape

    def constant(self, index: int, what: str) -> np.ndarray:
        """Return an input that has to be constant."""
        if index >= len(self.constants) or self.constants[index] is None:
            raise Inexact(f"{what} is not constant")
        return np.asarray(self.constants[index])

    def value(self, index: int = 0) -> int:
        """Return an input that has to be a value of the program."""
        value = self.values[index] if index < len(self.values) else None
        if value is None:
            raise Inexact(f"input {index} is constant")
        return value

    def value_and_constant(self) -> tuple[int, np.ndarray]:
        """Return the two inputs of a commutative operator of which one is constant."""
        place = 0 if self.values[0] is not None else 1
        return self.value(place), self.constant(1 - place, "one input")

    def step(
        self, kind: Callable[..., Step], inputs: Sequence[int], shape: Sequence[int], *fields: Any
    ) -> int:
        """Append a step."""
        return self.builder.append(kind(self.layer, tuple(inputs), tuple(shape), *fields))

    def take(self, values: Sequence[int], indices: np.ndarray, fill: float = 0.0) -> int:
        """Gather elements, unless this changes nothing."""
        same = len(values) == 1 and indices.shape == self.shape(values[0])
        if same and np.array_equal(indices.ravel(), np.arange(indices.size)):
            return values[0]
        return self.step(Take, values, indices.shape, indices, fill)

    def places(self, value: int) -> np.ndarray:
        """Return the indices of a value's elements, in its shape."""
        shape = self.shape(value)
        return np.arange(int(np.prod(shape))).reshape(shape)

    def broadcast(self, value: int, shape: Shape) -> int:
        """Repeat a value to a shape."""
        return self.take([value], np.broadcast_to(self.places(value), shape))

    def linear(self, value: int, matrix: np.ndarray) -> int:
        """Multiply the last axis by a matrix."""
        matrix = finite(matrix)
        return self.step(Linear, [value], (*self.shape(value)[:-1], matrix.shape[1]), matrix)

    def scale(self, value: int, factors: np.ndarray) -> int:
        """Multiply by constants that broadcast to the value."""
        shape = np.broadcast_shapes(self.shape(value), np.shape(factors))
        value = self.broadcast(value, shape)
        return self.step(Scale, [value], shape, np.broadcast_to(finite(factors), shape))

    def offset(self, value: int, terms: np.ndarray) -> int:
        """Add constants that broadcast to the value."""
        shape = np.broadcast_shapes(self.shape(value), np.shape(terms))
        value = self.broadcast(value, shape)
        return self.step(Offset, [value], shape, np.broadcast_to(finite(terms), shape))

    def clip(self, value: int, low: Any, high: Any) -> int:
        """Limit to bounds that broadcast to the value."""
        shape = self.shape(value)
        bounds = [np.broadcast_to(np.asarray(bound, np.float64), shape) for bound in (low, high)]
        return self.step(Clip, [value], shape, *bounds)

    def pair(self, kind: type[Add | Multiply | Maximum], first: int, second: int) -> int:
        """Combine two values that broadcast to each other."""
        shape = np.broadcast_shapes(self.shape(first), self.shape(second))
        return self.step(kind, [self.broadcast(first, shape), self.broadcast(second, shape)], shape)


def finite(values: np.ndarray) -> np.ndarray:
    """Return constants in float64; NaN and infinities have no fixed-point form."""
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        raise Inexact("a constant is not finite")
    return values


def row(constant: np.ndarray) -> np.ndarray:
    """Return a constant operand without the axis of the batch."""
    if constant.ndim and constant.shape[0] != 1:
        raise Inexact(f"a constant of the shape {constant.shape} differs between events")
    return constant[0] if constant.ndim else constant


def operand(array: np.ndarray, rank: int) -> np.ndarray:
    """Return a constant operand of an elementwise operator, without the axis of the batch."""
    return row(array) if array.ndim == rank + 1 else array
