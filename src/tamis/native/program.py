"""What is done, one statement after the other, each over views of buffers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from tamis.native.expression import Expression, loads
from tamis.native.view import Buffer, View


@dataclass(frozen=True, eq=False)
class Map:
    """Write an expression, element by element."""

    value: Expression
    out: View

    def reads(self) -> Iterator[View]:
        """Yield what is read."""
        yield from (load.view for load in loads(self.value))


@dataclass(frozen=True, eq=False)
class Maps:
    """Write several expressions of one shape, all of them element by element: what they share is read and computed once."""

    values: tuple[Expression, ...]
    outs: tuple[View, ...]

    def reads(self) -> Iterator[View]:
        """Yield what is read."""
        for value in self.values:
            yield from (load.view for load in loads(value))


@dataclass(frozen=True, eq=False)
class Reduce:
    """Reduce the last axes of an expression: `sum`, `max`, `min` or `prod`, in an order that is the same everywhere."""

    kind: str
    value: Expression  # of the shape of `out`, and then the axes that are reduced
    out: View

    def reads(self) -> Iterator[View]:
        """Yield what is read."""
        yield from (load.view for load in loads(self.value))


@dataclass(frozen=True, eq=False)
class ReduceBoth:
    """Reduce a table, the last two axes of an expression, by rows and by columns: `max` or `min`."""

    kind: str
    value: Expression
    rows: View  # without the last axis
    columns: View  # without the one before

    def reads(self) -> Iterator[View]:
        """Yield what is read."""
        yield from (load.view for load in loads(self.value))


@dataclass(frozen=True, eq=False)
class Contract:
    """out[g, o, p] = finish(start[g, o, p] + bias[g, o] + sum over r of weights[g, r, o] * x[g, r, p]).

    `x` has the axes (groups, *reduced, *positions), `out` and `start` (groups, outputs, *positions). Each output is one chain
    of multiply-adds in the order of r, or as many chains as `chains` says, added pairwise at the end.
    """

    x: View
    reduced: int  # how many axes of x after the first are summed over
    weights: np.ndarray = field(repr=False)  # (groups, r, outputs)
    bias: np.ndarray = field(repr=False)  # (groups, outputs)
    out: View
    start: View | None = None
    finish: Expression | None = None  # over an Accumulator of out's shape
    chains: int = 1
    taps: tuple[int, ...] = ()  # where elements lie along the last reduced axis, if not at even distances

    @property
    def positions(self) -> tuple[int, ...]:
        """Return the sizes of the axes of positions."""
        return self.x.shape[1 + self.reduced :]

    def reads(self) -> Iterator[View]:
        """Yield what is read."""
        yield self.x
        if self.start is not None:
            yield self.start
        if self.finish is not None:
            yield from (load.view for load in loads(self.finish))


@dataclass(frozen=True, eq=False)
class Tiled:
    """outs[i][g, o, p] = values[i], made of sums[f, g, o, p] = bias[f, g, o] + sum over r of weights[f, g, r, o] * x[f, g, r, p]."""

    x: View  # (sums, groups, *reduced, *positions)
    reduced: int
    weights: np.ndarray = field(repr=False)  # (sums, groups, r, outputs)
    bias: np.ndarray = field(repr=False)  # (sums, groups, outputs)
    values: tuple[Expression, ...]  # over Accumulators, numbered as the sums are
    outs: tuple[View, ...]  # (groups, outputs, *positions)

    def reads(self) -> Iterator[View]:
        """Yield what is read."""
        yield self.x
        for value in self.values:
            yield from (load.view for load in loads(value))


@dataclass(frozen=True, eq=False)
class Product:
    """out[b, m, n] = sum over k of left[b, m, k] * right[b, k, n]; all three belong to the event."""

    left: View
    right: View
    out: View

    def reads(self) -> Iterator[View]:
        """Yield what is read."""
        yield from (self.left, self.right)


@dataclass(frozen=True)
class Choice:
    """How far to go along an axis of `size`, as `places` says: whole numbers, negative ones from the end."""

    places: View  # of the shape of the statement
    size: int
    stride: int


@dataclass(frozen=True, eq=False)
class Pick:
    """out[i] = source[i], moved by what is chosen; `source` does not move itself along axes that are chosen."""

    source: View
    choices: tuple[Choice, ...]
    out: View

    def reads(self) -> Iterator[View]:
        """Yield what is read."""
        yield self.source
        yield from (one.places for one in self.choices)


@dataclass(frozen=True, eq=False)
class Put:
    """out[i], moved by what is chosen, becomes source[i], or with it the sum, product, maximum or minimum; i in C order."""

    source: View
    choices: tuple[Choice, ...]
    out: View
    kind: str = "set"  # or add, mul, max, min

    def reads(self) -> Iterator[View]:
        """Yield what is read; what is there already stays where nothing is put."""
        yield from (self.source, self.out)
        yield from (one.places for one in self.choices)


@dataclass(frozen=True, eq=False)
class Order:
    """The first `count` of each row (the last axis) in falling or rising order, and where they were; equals keep their order."""

    value: View
    count: int
    largest: bool
    values: View | None
    places: View | None

    def reads(self) -> Iterator[View]:
        """Yield what is read."""
        yield self.value


@dataclass(frozen=True, eq=False)
class Loop:
    """Do the body so many times; views move on by their `step`."""

    count: int
    body: tuple[Statement, ...]

    def reads(self) -> Iterator[View]:
        """Yield what is read."""
        for one in self.body:
            yield from one.reads()


Statement = Map | Maps | Reduce | ReduceBoth | Contract | Tiled | Product | Pick | Put | Order | Loop


def written(statement: Statement) -> Iterator[View]:
    """Yield what a statement writes."""
    if isinstance(statement, Loop):
        for one in statement.body:
            yield from written(one)
    elif isinstance(statement, Maps | Tiled):
        yield from statement.outs
    elif isinstance(statement, ReduceBoth):
        yield from (statement.rows, statement.columns)
    elif isinstance(statement, Order):
        yield from (view for view in (statement.values, statement.places) if view is not None)
    else:
        yield statement.out


def touched(statements: Iterable[Statement]) -> tuple[dict[Buffer, set[int]], dict[Buffer, set[int]]]:
    """Return which statements read each buffer, and which write it."""
    readers: dict[Buffer, set[int]] = {}
    writers: dict[Buffer, set[int]] = {}
    for number, statement in enumerate(statements):
        for view in statement.reads():
            readers.setdefault(view.buffer, set()).add(number)
        for view in written(statement):
            writers.setdefault(view.buffer, set()).add(number)
    return readers, writers


@dataclass
class Program:
    """All of it, for one event."""

    inputs: list[Buffer] = field(default_factory=list)
    outputs: list[Buffer] = field(default_factory=list)
    constants: dict[Buffer, np.ndarray] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
