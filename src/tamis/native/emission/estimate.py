"""The cost of a kernel in cycles, estimated: which kernels a batch is split into before they are timed."""

from __future__ import annotations

from collections.abc import Iterable
from functools import singledispatch
from math import prod

from tamis.native.emission.mode import Mode
from tamis.native.emission.tuning import (
    FMA_LATENCY,
    LOOKUP_CYCLES,
    NEAR_BYTES,
    STATEMENT_CYCLES,
    VECTORS_PER_CYCLE,
    WEIGHT_BYTES_PER_CYCLE,
)
from tamis.native.expression import cost
from tamis.native.program import (
    Contract,
    Loop,
    Map,
    Maps,
    Order,
    Pick,
    Product,
    Put,
    Reduce,
    ReduceBoth,
    Statement,
    Tiled,
    written,
)
from tamis.native.sizes import typical


def estimate(mode: Mode, statements: Iterable[Statement]) -> float:
    """Return the cycles of a kernel, for all its events."""
    return float(sum(statement_cycles(statement, mode) for statement in statements))


@singledispatch
def statement_cycles(statement: object, mode: Mode) -> float:
    """Return the cycles of a statement, for all events of a kernel."""
    kernel = "wide" if mode.wide else "narrow"
    raise TypeError(f"no estimate for a {kernel} kernel is registered for {type(statement).__name__}")


@statement_cycles.register
def _(statement: Loop, mode: Mode) -> float:
    return statement.count * estimate(mode, statement.body)


@statement_cycles.register
def _(statement: Contract, mode: Mode) -> float:
    groups, terms, outputs = statement.weights.shape
    positions = prod(map(typical, statement.positions))
    if mode.wide:
        return STATEMENT_CYCLES + groups * terms * outputs * positions * mode.count / VECTORS_PER_CYCLE
    last = max(map(typical, statement.positions), default=1)
    by_positions = outputs * positions // last * -(-last // mode.lanes)
    by_outputs = positions * -(-outputs // mode.lanes)
    sums = groups * min(by_positions, by_outputs) * mode.count
    busy = sums * terms / VECTORS_PER_CYCLE
    waiting = terms * FMA_LATENCY if sums < VECTORS_PER_CYCLE * FMA_LATENCY else 0
    weight_bytes = 4 * statement.weights.size
    reading = weight_bytes / WEIGHT_BYTES_PER_CYCLE if weight_bytes > NEAR_BYTES else 0
    return STATEMENT_CYCLES + max(busy, waiting, reading)


@statement_cycles.register
def _(statement: Tiled, mode: Mode) -> float:
    positions = prod(statement.outs[0].shape[2:])
    return STATEMENT_CYCLES + statement.weights.size * positions * mode.count / VECTORS_PER_CYCLE


@statement_cycles.register
def _(statement: Product, mode: Mode) -> float:
    columns = _vectors(mode, statement.out.shape[2])
    sums = prod(statement.out.shape[:2]) * columns
    return STATEMENT_CYCLES + sums * statement.left.shape[2] / VECTORS_PER_CYCLE


@statement_cycles.register
def _(statement: Maps, mode: Mode) -> float:
    return _elementwise(mode, statement.outs[0].shape, len(statement.outs) * 4)


@statement_cycles.register(Map)
@statement_cycles.register(Reduce)
@statement_cycles.register(ReduceBoth)
def _(statement: Map | Reduce | ReduceBoth, mode: Mode) -> float:
    return _elementwise(mode, statement.value.shape, cost(statement.value) + 1)


@statement_cycles.register(Pick)
@statement_cycles.register(Put)
@statement_cycles.register(Order)
def _(statement: Pick | Put | Order, mode: Mode) -> float:
    elements = sum(view.elements for view in written(statement))
    return STATEMENT_CYCLES + LOOKUP_CYCLES * elements * mode.count


def _elementwise(mode: Mode, shape: tuple[int, ...], instructions: int) -> float:
    longest = max(map(typical, shape), default=1)
    vectors = prod(map(typical, shape)) / longest * _vectors(mode, longest)
    return STATEMENT_CYCLES + vectors * (instructions + 2) / VECTORS_PER_CYCLE


def _vectors(mode: Mode, size: int) -> int:
    """Return the vectors that `size` contiguous numbers of all events take."""
    return size * mode.count if mode.wide else mode.count * -(-size // mode.lanes)
