"""What a way costs, in cycles, as far as it can be told without trying: for a first choice where nobody has measured."""

from __future__ import annotations

from math import prod

from tamis.native.emission.mode import Mode
from tamis.native.expression import cost
from tamis.native.program import (
    Contract,
    Loop,
    Map,
    Maps,
    Product,
    Reduce,
    ReduceBoth,
    Statement,
    Tiled,
    written,
)

CALL = 20  # of a statement
PER_CYCLE = 2  # vector instructions
LATENCY = 4  # of a multiply-add
BYTES_PER_CYCLE = 32  # of weights that are too many for the nearest cache
NEAR_BYTES = 32768
SEARCH = 10  # for each number that is looked up


def estimate(mode: Mode, statements: list[Statement]) -> float:
    """Return about how many cycles a way takes for all its events."""
    return sum(_statement(mode, one) for one in statements)


def _statement(mode: Mode, statement: Statement) -> float:
    if isinstance(statement, Loop):
        return statement.count * sum(_statement(mode, one) for one in statement.body)
    if isinstance(statement, Contract):
        return CALL + _contract(mode, statement)
    if isinstance(statement, Tiled):
        positions = prod(statement.outs[0].shape[2:])
        return CALL + statement.weights.size * positions * mode.count / PER_CYCLE
    if isinstance(statement, Product):
        columns = _vectors(mode, statement.out.shape[2])
        return CALL + prod(statement.out.shape[:2]) * columns * statement.left.shape[2] / PER_CYCLE
    if isinstance(statement, Maps):
        shape, effort = statement.outs[0].shape, len(statement.outs) * 4
    elif isinstance(statement, Map | Reduce | ReduceBoth):
        shape, effort = statement.value.shape, cost(statement.value) + 1
    else:  # number by number
        return CALL + SEARCH * sum(view.elements for view in written(statement)) * mode.count
    longest = max(shape, default=1)
    return CALL + prod(shape) / longest * _vectors(mode, longest) * (effort + 2) / PER_CYCLE


def _vectors(mode: Mode, size: int) -> int:
    """Return how many vectors so many neighbouring numbers of all events take."""
    return size * mode.count if mode.wide else mode.count * -(-size // mode.lanes)


def _contract(mode: Mode, statement: Contract) -> float:
    groups, terms, outputs = statement.weights.shape
    positions = prod(statement.positions)
    if mode.wide:
        return groups * terms * outputs * positions * mode.count / PER_CYCLE
    last = max(statement.positions, default=1)
    along = outputs * positions // last * -(-last // mode.lanes)
    across = positions * -(-outputs // mode.lanes)
    sums = groups * min(along, across) * mode.count
    busy = sums * terms / PER_CYCLE
    waiting = terms * LATENCY if sums < PER_CYCLE * LATENCY else 0
    weights = 4 * statement.weights.size
    reading = weights / BYTES_PER_CYCLE if weights > NEAR_BYTES else 0
    return max(busy, waiting, reading)
