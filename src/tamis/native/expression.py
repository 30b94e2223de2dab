"""Elementwise arithmetic as trees over views: nothing is computed until a statement writes the tree's value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from tamis.native.functions import FUNCTIONS
from tamis.native.view import View


@dataclass(frozen=True)
class Number:
    """The same number for every element."""

    value: float
    shape: tuple[int, ...] = ()
    operands: ClassVar[tuple[Expression, ...]] = ()
    effort: ClassVar[int] = 0

    def moved(self, move: Callable[[View], View], shape: tuple[int, ...]) -> Expression:
        """Return the number under another shape."""
        del move
        return self if self.shape == shape else replace(self, shape=shape)


@dataclass(frozen=True)
class Load:
    """The elements of a view."""

    view: View
    operands: ClassVar[tuple[Expression, ...]] = ()
    effort: ClassVar[int] = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the view's shape."""
        return self.view.shape

    def moved(self, move: Callable[[View], View], shape: tuple[int, ...]) -> Expression:
        """Return the elements of the view that `move` makes of this one."""
        del shape
        return Load(move(self.view))


@dataclass(frozen=True)
class Accumulator:
    """A finished sum of a contraction, in the expression that is applied to it before it is stored."""

    shape: tuple[int, ...]
    number: int = 0  # which of several sums
    operands: ClassVar[tuple[Expression, ...]] = ()
    effort: ClassVar[int] = 0

    def moved(self, move: Callable[[View], View], shape: tuple[int, ...]) -> Expression:
        """Raise: sums are in registers, in the order of their contraction."""
        del move, shape
        raise TypeError("an accumulator cannot be moved")


@dataclass(frozen=True)
class Call:
    """A function of one to three expressions of the same shape."""

    function: str
    arguments: tuple[Expression, ...]
    shape: tuple[int, ...]

    @property
    def operands(self) -> tuple[Expression, ...]:
        """Return the arguments."""
        return self.arguments

    @property
    def effort(self) -> int:
        """Return the instructions of this function alone."""
        return FUNCTIONS[self.function].cost

    def moved(self, move: Callable[[View], View], shape: tuple[int, ...]) -> Expression:
        """Return the call with the views of its arguments moved."""
        return Call(self.function, tuple(one.moved(move, shape) for one in self.arguments), shape)


Leaf = Number | Load | Accumulator
Expression = Leaf | Call


def call(function: str, *arguments: Expression) -> Expression:
    """Apply a function to expressions that broadcast to one shape."""
    shape = broadcast([one.shape for one in arguments])
    return Call(function, tuple(expand(one, shape) for one in arguments), shape)


def broadcast(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the shape that all shapes broadcast to."""
    length = max(map(len, shapes))
    padded = [(1,) * (length - len(shape)) + shape for shape in shapes]
    return tuple(
        next((size for size in sizes if size != 1), 1) if 0 not in sizes else 0
        for sizes in zip(*padded, strict=True)
    )


def expand(expression: Expression, shape: Sequence[int]) -> Expression:
    """Broadcast to a shape."""
    target = tuple(shape)
    return expression.moved(lambda view: view.expand(target), target)


def reshaped(expression: Expression, shape: Sequence[int]) -> Expression | None:
    """Return a tree under another shape, or None where one of its views would have to be copied for that."""
    target = tuple(shape)
    if any(load.view.reshape(target) is None for load in loads(expression)):
        return None

    def move(view: View) -> View:
        result = view.reshape(target)
        assert result is not None  # noqa: S101 - checked above
        return result

    return expression.moved(move, target)


def nodes(expression: Expression) -> Iterator[Expression]:
    """Yield every node of a tree, parents first; a shared subtree as often as it occurs."""
    yield expression
    for operand in expression.operands:
        yield from nodes(operand)


def loads(expression: Expression) -> Iterator[Load]:
    """Yield every view that is read, as often as it occurs."""
    return (node for node in nodes(expression) if isinstance(node, Load))


def cost(expression: Expression) -> int:
    """Return about how many instructions an element takes."""
    return expression.effort + sum(cost(one) for one in set(expression.operands))


def mapped(
    expression: Expression, change: Callable[[Leaf], Expression], shape: tuple[int, ...] | None = None
) -> Expression:
    """Return a tree with each leaf changed, and its calls under `shape` if it is given."""
    if not isinstance(expression, Call):
        return change(expression)
    arguments = tuple(mapped(one, change, shape) for one in expression.arguments)
    return Call(expression.function, arguments, expression.shape if shape is None else shape)


def replaced(expression: Expression, change: Callable[[Load], Expression]) -> Expression:
    """Return a tree with each view that it reads replaced by an expression."""
    return mapped(expression, lambda leaf: change(leaf) if isinstance(leaf, Load) else leaf)
