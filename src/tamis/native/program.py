"""A program: statements that run one after the other, each over views of buffers.

What is intrinsic to a kind of statement is a method of it: the views that it reads and writes, its expressions, the statements
inside it. Everything else (emission, estimates, listings, checks) is a `functools.singledispatch` function of its consumer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from tamis.native.expression import Expression, Load, loads, replaced
from tamis.native.sizes import SizeTable
from tamis.native.view import Buffer, View

ViewChange = Callable[[View], View]
ExpressionChange = Callable[[Expression], Expression]


class Statement:
    """One step of a program."""

    def expressions(self) -> tuple[Expression, ...]:
        """Return the elementwise expressions that are evaluated."""
        return ()

    def operands(self) -> Iterator[View]:
        """Yield the views that are read other than by expressions."""
        return iter(())

    def reads(self) -> Iterator[View]:
        """Yield every view that is read."""
        yield from self.operands()
        for expression in self.expressions():
            yield from (load.view for load in loads(expression))

    def writes(self) -> Iterator[View]:
        """Yield every view that is written."""
        raise NotImplementedError

    def nested(self) -> tuple[Statement, ...]:
        """Return the statements inside."""
        return ()

    def map_expressions(self, change: ExpressionChange) -> Statement:
        """Return the statement with each of its expressions changed; nested statements stay."""
        del change
        return self

    def map_reads(self, change: ViewChange) -> Statement:
        """Return the statement with each view that it reads changed."""
        return self.map_expressions(_reading(change))

    def map_nested(self, change: Callable[[Statement], Statement]) -> Statement:
        """Return the statement with the statements inside changed."""
        del change
        return self


@dataclass(frozen=True, eq=False)
class Map(Statement):
    """Write an expression, element by element."""

    value: Expression
    out: View

    def expressions(self) -> tuple[Expression, ...]:
        """Return the expression."""
        return (self.value,)

    def writes(self) -> Iterator[View]:
        """Yield the result."""
        yield self.out

    def map_expressions(self, change: ExpressionChange) -> Statement:
        """Return the statement with its expression changed."""
        return replace(self, value=change(self.value))


@dataclass(frozen=True, eq=False)
class Maps(Statement):
    """Write several expressions of one shape, element by element: what they share is read and computed once."""

    values: tuple[Expression, ...]
    outs: tuple[View, ...]

    def expressions(self) -> tuple[Expression, ...]:
        """Return the expressions."""
        return self.values

    def writes(self) -> Iterator[View]:
        """Yield the results."""
        yield from self.outs

    def map_expressions(self, change: ExpressionChange) -> Statement:
        """Return the statement with its expressions changed."""
        return replace(self, values=tuple(map(change, self.values)))


@dataclass(frozen=True, eq=False)
class Reduce(Statement):
    """Reduce the last axes of an expression by `sum`, `max`, `min` or `prod`, in an order that does not depend on the mode."""

    kind: str
    value: Expression  # its shape: that of `out`, then the reduced axes
    out: View

    def expressions(self) -> tuple[Expression, ...]:
        """Return the expression."""
        return (self.value,)

    def writes(self) -> Iterator[View]:
        """Yield the result."""
        yield self.out

    def map_expressions(self, change: ExpressionChange) -> Statement:
        """Return the statement with its expression changed."""
        return replace(self, value=change(self.value))


@dataclass(frozen=True, eq=False)
class ReduceBoth(Statement):
    """Reduce a table, the last two axes of an expression, by rows and by columns, with `max` or `min`."""

    kind: str
    value: Expression
    rows: View  # without the last axis
    columns: View  # without the second to last axis

    def expressions(self) -> tuple[Expression, ...]:
        """Return the expression."""
        return (self.value,)

    def writes(self) -> Iterator[View]:
        """Yield both results."""
        yield from (self.rows, self.columns)

    def map_expressions(self, change: ExpressionChange) -> Statement:
        """Return the statement with its expression changed."""
        return replace(self, value=change(self.value))


@dataclass(frozen=True, eq=False)
class Contract(Statement):
    """out[g, o, p] = finish(start[g, o, p] + bias[g, o] + sum over r of weights[g, r, o] * x[g, r, p]).

    `x` has the axes (groups, *reduced, *positions), `out` and `start` (groups, outputs, *positions). Each output is one chain
    of multiply-adds in the order of r, or `chains` of them, added pairwise at the end.
    """

    x: View
    reduced: int  # number of axes of x after the first that are summed over
    weights: np.ndarray = field(repr=False)  # (groups, r, outputs)
    bias: np.ndarray = field(repr=False)  # (groups, outputs)
    out: View
    start: View | None = None
    finish: Expression | None = None  # over an Accumulator of out's shape
    chains: int = 1
    taps: tuple[int, ...] = ()  # offsets along the last reduced axis, where they are not evenly spaced

    @property
    def positions(self) -> tuple[int, ...]:
        """Return the sizes of the axes of positions."""
        return self.x.shape[1 + self.reduced :]

    def expressions(self) -> tuple[Expression, ...]:
        """Return what is applied to the sums."""
        return () if self.finish is None else (self.finish,)

    def operands(self) -> Iterator[View]:
        """Yield the input and what the sums begin with."""
        yield self.x
        if self.start is not None:
            yield self.start

    def writes(self) -> Iterator[View]:
        """Yield the result."""
        yield self.out

    def map_expressions(self, change: ExpressionChange) -> Statement:
        """Return the statement with `change` applied to `finish`, the expression of its sums."""
        return self if self.finish is None else replace(self, finish=change(self.finish))

    def map_reads(self, change: ViewChange) -> Statement:
        """Return the statement with each view that it reads changed."""
        start = None if self.start is None else change(self.start)
        finish = None if self.finish is None else _reading(change)(self.finish)
        return replace(self, x=change(self.x), start=start, finish=finish)


@dataclass(frozen=True, eq=False)
class Tiled(Statement):
    """outs[i][g, o, p] = values[i], over sums[f, g, o, p] = bias[f, g, o] + sum over r of weights[f, g, r, o] * x[f, g, r, p]."""

    x: View  # (sums, groups, *reduced, *positions)
    reduced: int
    weights: np.ndarray = field(repr=False)  # (sums, groups, r, outputs)
    bias: np.ndarray = field(repr=False)  # (sums, groups, outputs)
    values: tuple[Expression, ...]  # over Accumulators, numbered as the sums are
    outs: tuple[View, ...]  # (groups, outputs, *positions)

    def expressions(self) -> tuple[Expression, ...]:
        """Return what is computed from the sums."""
        return self.values

    def operands(self) -> Iterator[View]:
        """Yield the input."""
        yield self.x

    def writes(self) -> Iterator[View]:
        """Yield the results."""
        yield from self.outs

    def map_expressions(self, change: ExpressionChange) -> Statement:
        """Return the statement with its expressions changed."""
        return replace(self, values=tuple(map(change, self.values)))

    def map_reads(self, change: ViewChange) -> Statement:
        """Return the statement with each view that it reads changed."""
        return replace(self, x=change(self.x), values=tuple(map(_reading(change), self.values)))


@dataclass(frozen=True, eq=False)
class Product(Statement):
    """out[b, m, n] = sum over k of left[b, m, k] * right[b, k, n], where both factors depend on the event."""

    left: View
    right: View
    out: View

    def operands(self) -> Iterator[View]:
        """Yield both factors."""
        yield from (self.left, self.right)

    def writes(self) -> Iterator[View]:
        """Yield the result."""
        yield self.out

    def map_reads(self, change: ViewChange) -> Statement:
        """Return the statement with each view that it reads changed."""
        return replace(self, left=change(self.left), right=change(self.right))


@dataclass(frozen=True)
class Choice:
    """An index along an axis of `size`, read from `places`: integers, negative ones counted from the end."""

    places: View  # of the shape of the statement
    size: int
    stride: int


@dataclass(frozen=True, eq=False)
class Pick(Statement):
    """Gather: out[i] = source[i], moved along each chosen axis; `source` has stride 0 along chosen axes."""

    source: View
    choices: tuple[Choice, ...]
    out: View

    def operands(self) -> Iterator[View]:
        """Yield the source and the indices."""
        yield self.source
        yield from (one.places for one in self.choices)

    def writes(self) -> Iterator[View]:
        """Yield the result."""
        yield self.out

    def map_reads(self, change: ViewChange) -> Statement:
        """Return the statement with each view that it reads changed."""
        return replace(self, source=change(self.source), choices=_moved(self.choices, change))


@dataclass(frozen=True, eq=False)
class Put(Statement):
    """Scatter: out[i], moved along each chosen axis, becomes source[i], or is combined with it; i runs in C order."""

    source: View
    choices: tuple[Choice, ...]
    out: View
    kind: str = "set"  # or add, mul, max, min

    def operands(self) -> Iterator[View]:
        """Yield the source, the result (elements that are not chosen stay) and the indices."""
        yield from (self.source, self.out)
        yield from (one.places for one in self.choices)

    def writes(self) -> Iterator[View]:
        """Yield the result."""
        yield self.out

    def map_reads(self, change: ViewChange) -> Statement:
        """Return the statement with its source and indices changed; the result is changed in place."""
        return replace(self, source=change(self.source), choices=_moved(self.choices, change))


@dataclass(frozen=True, eq=False)
class Order(Statement):
    """The first `count` elements of each row (the last axis) in falling or rising order, and their indices; a stable sort."""

    value: View
    count: int
    largest: bool
    values: View | None
    places: View | None

    def operands(self) -> Iterator[View]:
        """Yield the rows."""
        yield self.value

    def writes(self) -> Iterator[View]:
        """Yield the results that are needed."""
        yield from (view for view in (self.values, self.places) if view is not None)

    def map_reads(self, change: ViewChange) -> Statement:
        """Return the statement with each view that it reads changed."""
        return replace(self, value=change(self.value))


@dataclass(frozen=True, eq=False)
class Loop(Statement):
    """Run the body `count` times; each view advances by its `step` per iteration."""

    count: int
    body: tuple[Statement, ...]

    def reads(self) -> Iterator[View]:
        """Yield every view that the body reads."""
        for statement in self.body:
            yield from statement.reads()

    def writes(self) -> Iterator[View]:
        """Yield every view that the body writes."""
        for statement in self.body:
            yield from statement.writes()

    def nested(self) -> tuple[Statement, ...]:
        """Return the body."""
        return self.body

    def map_reads(self, change: ViewChange) -> Statement:
        """Return the loop with each view that its body reads changed."""
        return self.map_nested(lambda statement: statement.map_reads(change))

    def map_nested(self, change: Callable[[Statement], Statement]) -> Statement:
        """Return the loop with the statements of its body changed."""
        return replace(self, body=tuple(map(change, self.body)))


def _reading(change: ViewChange) -> ExpressionChange:
    """Return a function that applies `change` to every view that an expression loads."""
    return lambda value: replaced(value, lambda load: Load(change(load.view)))


def _moved(choices: Iterable[Choice], change: ViewChange) -> tuple[Choice, ...]:
    return tuple(replace(one, places=change(one.places)) for one in choices)


def written(statement: Statement) -> Iterator[View]:
    """Yield every view that a statement writes."""
    return statement.writes()


def touched(statements: Iterable[Statement]) -> tuple[dict[Buffer, set[int]], dict[Buffer, set[int]]]:
    """Return the numbers of the statements that read each buffer, and of those that write it."""
    readers: dict[Buffer, set[int]] = {}
    writers: dict[Buffer, set[int]] = {}
    for number, statement in enumerate(statements):
        for view in statement.reads():
            readers.setdefault(view.buffer, set()).add(number)
        for view in statement.writes():
            writers.setdefault(view.buffer, set()).add(number)
    return readers, writers


@dataclass
class Program:
    """A model for one event: its buffers and its statements."""

    inputs: list[Buffer] = field(default_factory=list)
    outputs: list[Buffer] = field(default_factory=list)
    constants: dict[Buffer, np.ndarray] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
    table: SizeTable | None = None  # of its sizes; None: all are fixed

    def mapped(self, change: Callable[[Statement], Statement]) -> Program:
        """Return the program with each statement changed, inside loops first."""

        def inside_out(statement: Statement) -> Statement:
            return change(statement.map_nested(inside_out))

        return replace(self, statements=[inside_out(one) for one in self.statements])
