"""Whether a program is well-formed: finds what would make generated code read or write wrong addresses.

Slow and simple: every buffer has a mask of the elements that have been written, and loops are run iteration by iteration.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass, replace
from functools import singledispatch
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tamis.native.expression import Accumulator, Call, Number, nodes
from tamis.native.functions import FUNCTIONS
from tamis.native.program import (
    Choice,
    Contract,
    Map,
    Maps,
    Order,
    Pick,
    Product,
    Program,
    Put,
    Reduce,
    ReduceBoth,
    Statement,
    Tiled,
)
from tamis.native.sizes import Size, SizeTable
from tamis.native.view import Buffer, Role, View

CHECKED_ROWS = 4  # of a table of sizes, evenly spaced, besides the first two, the typical one and the last


def problems(program: Program) -> Iterator[str]:
    """Yield what is wrong with a program, statement by statement; nothing if it is well-formed. Of many sizes some are checked."""
    table = program.table
    if table is None:
        yield from _problems_of(program)
        return
    last = table.rows - 1
    rows = {
        0,
        min(1, last),
        table.typical,
        last,
        *(last * part // CHECKED_ROWS for part in range(CHECKED_ROWS)),
    }
    for row in sorted(rows):
        one = fixed(program, row)
        one.statements = [statement for statement in one.statements if not _is_empty(statement)]
        yield from (f"in row {row} of its sizes: {problem}" for problem in _problems_of(one))


def _is_empty(statement: Statement) -> bool:
    """Return whether a statement writes nothing, as where there is no padding."""
    return any(0 in view.shape for view in statement.writes())


def fixed(value: Any, row: int) -> Any:
    """Return a program, or a part of it, with the sizes of one row as integers."""
    if isinstance(value, Size):
        return int(value.values[row])
    if isinstance(value, tuple):
        return tuple(fixed(one, row) for one in value)
    if isinstance(value, list):
        return [fixed(one, row) for one in value]
    if isinstance(value, dict):
        return {fixed(key, row): fixed(one, row) for key, one in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: fixed(getattr(value, one.name), row) for one in fields(value)})
    return None if isinstance(value, SizeTable) else value


def _problems_of(program: Program) -> Iterator[str]:
    listed = (
        (program.inputs, Role.INPUT),
        (program.outputs, Role.OUTPUT),
        (program.constants, Role.CONSTANT),
    )
    for buffers, role in listed:
        yield from (f"{one} is listed as {role.value}" for one in buffers if one.role is not role)
    for buffer, values in program.constants.items():
        if values.size != buffer.elements or values.dtype != np.float32:
            yield f"{buffer} holds {values.size} numbers of {values.dtype}"
    memory = _Memory([*program.inputs, *program.constants])
    for number, statement in enumerate(program.statements):
        for problem in _run(statement, memory):
            yield f"statement {number} ({type(statement).__name__}): {problem}"
    for buffer in program.outputs:
        if not memory.mask(buffer).all():
            yield f"the output {buffer.name!r} is not written in full"


def _run(statement: Statement, memory: _Memory) -> Iterator[str]:
    """Yield what is wrong with a statement, and mark what it writes."""
    body = statement.nested()
    if not body:
        yield from _problems(statement)
        yield from memory.access(statement, None)
        return
    for one in body:
        if one.nested():
            yield "a loop inside a loop"
        yield from _problems(one)
    for turn in range(getattr(statement, "count", 1)):
        for one in body:
            found = list(memory.access(one, turn))
            if found:  # further iterations would say the same
                yield from (f"{type(one).__name__} in iteration {turn}: {problem}" for problem in found)
                return


class _Memory:
    """Which elements of each buffer hold a value."""

    def __init__(self, full: Iterable[Buffer]) -> None:
        self._masks = {buffer: np.ones(buffer.elements, bool) for buffer in full}

    def mask(self, buffer: Buffer) -> np.ndarray:
        if buffer not in self._masks:
            self._masks[buffer] = np.zeros(buffer.elements, bool)
        return self._masks[buffer]

    def access(self, statement: Statement, turn: int | None) -> Iterator[str]:
        """Check one execution of a statement, in iteration `turn` of its loop, and mark what it writes."""
        reads, writes = list(effective_reads(statement)), list(effective_writes(statement))
        outside = [found for view in (*reads, *writes) for found in _bounds(view, turn)]
        if outside:
            yield from outside
            return
        for view in reads:
            if not _elements(self.mask(view.buffer), view, turn).all():
                yield f"reads elements of {view.buffer.name!r} that are not written yet"
        for view in writes:
            if view.buffer.role in (Role.INPUT, Role.CONSTANT):
                yield f"writes to the {view.buffer.role.value} {view.buffer.name!r}"
                continue
            before = [one for one in reads if one.buffer == view.buffer and one != view]
            if before and not isinstance(statement, Put):
                written = np.zeros(view.buffer.elements, bool)
                _elements(written, view, turn)[...] = True
                if any(_elements(written, one, turn).any() for one in before):
                    yield f"overwrites elements of {view.buffer.name!r} that it reads"
        for view in writes:
            if view.buffer.role not in (Role.INPUT, Role.CONSTANT):
                _elements(self.mask(view.buffer), view, turn)[...] = True


def _bounds(view: View, turn: int | None) -> Iterator[str]:
    """Yield what is wrong with a view by itself."""
    if len(view.shape) != len(view.strides) or any(size < 1 for size in view.shape):
        yield f"a view of {view.buffer.name!r} has shape {view.shape} and strides {view.strides}"
        return
    if view.step and turn is None:
        yield f"a view of {view.buffer.name!r} advances by {view.step} outside of a loop"
    reach = [(size - 1) * stride for size, stride in zip(view.shape, view.strides, strict=True)]
    start = view.offset + view.step * (turn or 0)
    first, last = (start + sum(edge(0, one) for one in reach) for edge in (min, max))
    if first < 0 or last >= view.buffer.elements:
        yield f"a view covers elements {first} to {last} of {view.buffer}"


def _elements(mask: np.ndarray, view: View, turn: int | None) -> np.ndarray:
    """Return the elements of a mask that a view covers; axes along which nothing changes are left out."""
    axes = [(size, stride) for size, stride in zip(view.shape, view.strides, strict=True) if stride]
    start = view.offset + view.step * (turn or 0)
    return as_strided(mask[start:], [size for size, _ in axes], [stride for _, stride in axes])


@singledispatch
def effective_reads(statement: Statement) -> Iterator[View]:
    """Yield every view that may be read, those that indices choose from in full."""
    yield from statement.reads()


@effective_reads.register
def _contract_reads(statement: Contract) -> Iterator[View]:
    axis = statement.reduced
    if statement.taps:
        first = statement.x.at(axis, 0)
        yield from (first.moved(tap) for tap in statement.taps)
        yield from (view for view in statement.reads() if view is not statement.x)
    else:
        yield from statement.reads()


@effective_reads.register
def _pick_reads(statement: Pick) -> Iterator[View]:
    yield _in_full(statement.source, statement.choices)
    yield from (one.places for one in statement.choices)


@effective_reads.register
def _put_reads(statement: Put) -> Iterator[View]:
    yield statement.source
    yield _in_full(statement.out, statement.choices)
    yield from (one.places for one in statement.choices)


@singledispatch
def effective_writes(statement: Statement) -> Iterator[View]:
    """Yield every view that may be written."""
    yield from statement.writes()


@effective_writes.register
def _put_writes(statement: Put) -> Iterator[View]:
    yield _in_full(statement.out, statement.choices)


def _in_full(view: View, choices: Iterable[Choice]) -> View:
    """Return a view with the axes that indices choose from."""
    sizes, strides = zip(*((one.size, one.stride) for one in choices), strict=True)
    return replace(view, shape=(*view.shape, *sizes), strides=(*view.strides, *strides))


def _problems(statement: Statement) -> Iterator[str]:
    """Yield what is wrong with a statement by itself: shapes, functions, accumulators."""
    for what, shape, expected in shapes(statement):
        if shape != expected:
            yield f"its {what} has shape {shape}, not {expected}"
    sums = accumulators(statement)
    for node in (node for value in statement.expressions() for node in nodes(value)):
        if isinstance(node, Accumulator) and node.number >= sums:
            yield f"accumulator {node.number} of {sums}"
        if isinstance(node, Call):
            function = FUNCTIONS.get(node.function)
            if function is None or function.arity != len(node.arguments):
                yield f"{node.function} of {len(node.arguments)} arguments is not in the table of functions"
            for one in node.arguments:
                if one.shape != node.shape and not isinstance(one, Number):
                    yield f"{node.function} of shape {node.shape} has an argument of shape {one.shape}"


@singledispatch
def accumulators(statement: Statement) -> int:
    """Return how many sums the expressions of a statement can refer to."""
    del statement
    return 0


@accumulators.register
def _contract_accumulators(statement: Contract) -> int:
    del statement
    return 1


@accumulators.register
def _tiled_accumulators(statement: Tiled) -> int:
    return len(statement.weights)


Shape = tuple[int, ...]
Part = tuple[str, Shape, Shape]  # name, shape, expected shape


@singledispatch
def shapes(statement: Statement) -> Iterator[Part]:
    """Yield the name, the shape and the expected shape of each part of a statement."""
    raise NotImplementedError(f"no shapes are known for {type(statement).__name__}")


@shapes.register
def _map_shapes(statement: Map) -> Iterator[Part]:
    yield "value", statement.value.shape, statement.out.shape


@shapes.register
def _maps_shapes(statement: Maps) -> Iterator[Part]:
    for value, out in zip(statement.values, statement.outs, strict=True):
        yield "value", value.shape, statement.outs[0].shape
        yield "result", out.shape, statement.outs[0].shape


@shapes.register
def _reduce_shapes(statement: Reduce) -> Iterator[Part]:
    yield "result", statement.out.shape, statement.value.shape[: len(statement.out.shape)]


@shapes.register
def _reduce_both_shapes(statement: ReduceBoth) -> Iterator[Part]:
    shape = statement.value.shape
    yield "result by rows", statement.rows.shape, shape[:-1]
    yield "result by columns", statement.columns.shape, (*shape[:-2], shape[-1])


@shapes.register
def _contract_shapes(statement: Contract) -> Iterator[Part]:
    groups, terms, outputs = statement.weights.shape
    expected = (groups, outputs, *statement.positions)
    yield "input", (statement.x.shape[0], prod(statement.x.shape[1 : 1 + statement.reduced])), (groups, terms)
    yield "bias", statement.bias.shape, (groups, outputs)
    yield "result", statement.out.shape, expected
    if statement.start is not None:
        yield "start", statement.start.shape, expected
    if statement.finish is not None:
        yield "finish", statement.finish.shape, expected
    if statement.taps:
        yield "list of taps", (len(statement.taps),), (statement.x.shape[statement.reduced],)


@shapes.register
def _tiled_shapes(statement: Tiled) -> Iterator[Part]:
    sums, groups, terms, outputs = statement.weights.shape
    lead = 2 + statement.reduced
    expected = (groups, outputs, *statement.x.shape[lead:])
    yield "input", (*statement.x.shape[:2], prod(statement.x.shape[2:lead])), (sums, groups, terms)
    yield "bias", statement.bias.shape, (sums, groups, outputs)
    for value, out in zip(statement.values, statement.outs, strict=True):
        yield "value", value.shape, expected
        yield "result", out.shape, expected


@shapes.register
def _product_shapes(statement: Product) -> Iterator[Part]:
    batch, rows, terms = statement.left.shape
    columns = statement.right.shape[-1]
    yield "right factor", statement.right.shape, (batch, terms, columns)
    yield "result", statement.out.shape, (batch, rows, columns)


@shapes.register
def _pick_shapes(statement: Pick) -> Iterator[Part]:
    yield "source", statement.source.shape, statement.out.shape
    yield from (("indices", one.places.shape, statement.out.shape) for one in statement.choices)


@shapes.register
def _put_shapes(statement: Put) -> Iterator[Part]:
    yield "source", statement.source.shape, statement.out.shape
    yield from (("indices", one.places.shape, statement.out.shape) for one in statement.choices)


@shapes.register
def _order_shapes(statement: Order) -> Iterator[Part]:
    expected = (*statement.value.shape[:-1], statement.count)
    yield from (("result", view.shape, expected) for view in statement.writes())
