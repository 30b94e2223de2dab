"""Elementwise arithmetic that is not done yet: trees over views, moved about for nothing and written out once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from tamis.native.view import View

COSTLY = {"exp", "log", "tanh", "erf", "sigmoid", "gate", "sin", "cos", "pow", "div", "sqrt"}


@dataclass(frozen=True)
class Number:
    """A number that is the same everywhere."""

    value: float
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Load:
    """What lies in a view."""

    view: View

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the view's shape."""
        return self.view.shape


@dataclass(frozen=True)
class Accumulator:
    """What a contraction has summed up, in an expression that is applied to it before it is stored."""

    shape: tuple[int, ...]
    number: int = 0  # where there are several sums


@dataclass(frozen=True)
class Call:
    """A function of one to three expressions of the same shape."""

    function: str
    arguments: tuple[Expression, ...]
    shape: tuple[int, ...]


Expression = Number | Load | Accumulator | Call


def call(function: str, *arguments: Expression) -> Expression:
    """Apply a function to expressions that broadcast to one shape."""
    shape = broadcast([one.shape for one in arguments])
    return Call(function, tuple(expand(one, shape) for one in arguments), shape)


def broadcast(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the shape that all broadcast to."""
    length = max(map(len, shapes))
    padded = [(1,) * (length - len(shape)) + shape for shape in shapes]
    return tuple(max(sizes) if 0 not in sizes else 0 for sizes in zip(*padded, strict=True))


def expand(expression: Expression, shape: Sequence[int]) -> Expression:
    """Broadcast to a shape."""
    wanted = tuple(shape)
    return moved(expression, lambda view: view.expand(wanted), wanted)


def moved(expression: Expression, move: Callable[[View], View], shape: tuple[int, ...]) -> Expression:
    """Move the elements of every view in a tree; `shape` is what comes of it."""
    if expression.shape == shape and isinstance(expression, Number):
        return expression
    if isinstance(expression, Number):
        return replace(expression, shape=shape)
    if isinstance(expression, Load):
        return Load(move(expression.view))
    if isinstance(expression, Call):
        return Call(
            expression.function, tuple(moved(one, move, shape) for one in expression.arguments), shape
        )
    raise TypeError("an accumulator has its place")


def reshaped(expression: Expression, shape: Sequence[int]) -> Expression | None:
    """Return a tree under another shape, or None where a view of it would have to be copied."""
    wanted = tuple(shape)
    if any(load.view.reshape(wanted) is None for load in loads(expression)):
        return None

    def move(view: View) -> View:
        found = view.reshape(wanted)
        assert found is not None  # noqa: S101 - as was seen above
        return found

    return moved(expression, move, wanted)


def loads(expression: Expression) -> Iterator[Load]:
    """Yield every view that is read, as often as it is."""
    if isinstance(expression, Load):
        yield expression
    elif isinstance(expression, Call):
        for one in expression.arguments:
            yield from loads(one)


def cost(expression: Expression) -> int:
    """Return about how many instructions an element takes."""
    if not isinstance(expression, Call):
        return 0
    own = 12 if expression.function in COSTLY else 1
    return own + sum(cost(one) for one in set(expression.arguments))


def replaced(expression: Expression, change: Callable[[Load], Expression]) -> Expression:
    """Put something else in the place of every view."""
    if isinstance(expression, Load):
        return change(expression)
    if isinstance(expression, Call):
        return replace(expression, arguments=tuple(replaced(one, change) for one in expression.arguments))
    return expression
