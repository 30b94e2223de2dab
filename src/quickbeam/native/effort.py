"""About how much arithmetic a program does for an event: enough to tell a microsecond from a millisecond."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from quickbeam.native.expression import cost
from quickbeam.native.program import Contract, Loop, Map, Product, Program, Reduce, Statement


def operations(program: Program) -> int:
    """Return the multiply-adds and elementwise steps of one event."""
    return _sum(program.statements)


def _sum(statements: Iterable[Statement]) -> int:
    return sum(_one(statement) for statement in statements)


def _one(statement: Statement) -> int:
    if isinstance(statement, Loop):
        return statement.count * _sum(statement.body)
    if isinstance(statement, Contract):
        return statement.out.elements * int(statement.weights.shape[1])
    if isinstance(statement, Product):
        return statement.out.elements * statement.left.shape[-1]
    if isinstance(statement, Map):
        return statement.out.elements * (1 + cost(statement.value))
    if isinstance(statement, Reduce):
        return prod(statement.value.shape) * (1 + cost(statement.value))
    return 0
