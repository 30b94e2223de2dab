"""A table reduced by rows and by columns in C, a few rows at a time: where vectors hold events."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from quickbeam.native.emission.arithmetic import Arithmetic
from quickbeam.native.emission.elementwise import FIRST, STEP
from quickbeam.native.emission.loops import Axis
from quickbeam.native.emission.mode import Mode
from quickbeam.native.emission.walk import Walk
from quickbeam.native.emission.writer import Writer
from quickbeam.native.expression import loads
from quickbeam.native.program import ReduceBoth
from quickbeam.native.view import View

ROWS = 4  # together


def emit_both(writer: Writer, mode: Mode, statement: ReduceBoth) -> None:
    """Write such a statement: each element is computed once."""
    shape = statement.value.shape
    rank = len(shape)
    rows = statement.rows.insert(rank - 1, shape[-1])
    columns = statement.columns.insert(rank - 2, shape[-2])
    walk = Walk(writer, mode, [rows, columns, *(load.view for load in loads(statement.value))])
    lead = walk.axes(shape[:-2], [view.strides[:-2] for view in walk.views])
    if mode.count > 1:
        lead.append(walk.events())
    across, along = (
        Axis(shape[place], tuple(view.strides[place] * mode.factor(view) for view in walk.views))
        for place in (rank - 2, rank - 1)
    )
    together = min(ROWS, across.size)
    rounds, rest = divmod(across.size, together)
    walk.plan = [*lead, across, along]
    with ExitStack() as stack:
        for axis in lead:
            stack.enter_context(walk.enter(axis))
        with walk.once((0,) * len(walk.views)):
            _rows(walk, statement, across, along, together, rows, columns, first=True)
        if rounds > 1:
            moves = tuple(stride * together for stride in across.strides)
            with walk.once(moves), walk.enter(Axis(rounds - 1, moves)):
                _rows(walk, statement, across, along, together, rows, columns, first=False)
        if rest:
            with walk.once(tuple(stride * rounds * together for stride in across.strides)):
                _rows(walk, statement, across, along, rest, rows, columns, first=False)


def _rows(walk: Walk, statement: ReduceBoth, across: Axis, along: Axis, count: int, rows: View, columns: View, *, first: bool) -> None:  # fmt: skip
    """Write so many rows: each has its number, and each column takes the best of them."""
    writer, step = walk.writer, STEP[statement.kind]
    arithmetic = Arithmetic(writer, walk.read, walk.depth)
    arithmetic.innermost = len(walk.plan) - 2
    walk.beside = across.strides
    arithmetic.prepare(statement.value, len(walk.plan) - 2, count)
    sums = [writer.name("a") for _ in range(count)]
    for name in sums:
        writer.line(f"V {name} = all({FIRST[statement.kind]});")
    with walk.enter(along):
        names = arithmetic.texts(statement.value, count)
        for total, name in zip(sums, names, strict=True):
            writer.line(f"{total} = {step}({total}, {name});")
        best = _best(step, names)
        if not first:
            best = f"{step}(ld({walk.address(columns)}), {best})"
        walk.write(columns, best)
    for copy, total in enumerate(sums):
        walk.write(rows, total, copy)
    walk.beside = (0,) * len(walk.views)


def _best(step: str, names: Sequence[str]) -> str:
    """Return the C of the best of some values, in halves."""
    if len(names) == 1:
        return names[0]
    half = len(names) // 2
    return f"{step}({_best(step, names[:half])}, {_best(step, names[half:])})"
