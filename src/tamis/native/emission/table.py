"""A table reduced by rows and by columns at once, a few rows (or vectors of them) at a time; each element is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from tamis.native.emission.arithmetic import Arithmetic
from tamis.native.emission.elementwise import IDENTITIES, REDUCING
from tamis.native.emission.loops import Axis
from tamis.native.emission.tuning import BLOCK_ROWS
from tamis.native.emission.walk import Walk
from tamis.native.emission.writer import Emission, emit_statement
from tamis.native.expression import loads
from tamis.native.program import ReduceBoth
from tamis.native.view import View

OVER_LANES = {"min": "least", "max": "largest"}  # C functions


@emit_statement.register
def emit_table(statement: ReduceBoth, emission: Emission) -> None:
    """Write the reduction of a table by rows and columns."""
    writer, mode = emission.writer, emission.mode
    shape = statement.value.shape
    rank = len(shape)
    rows = statement.rows.insert(rank - 1, shape[-1])
    columns = statement.columns.insert(rank - 2, shape[-2])
    walk = Walk(writer, mode, [rows, columns, *(load.view for load in loads(statement.value))])
    lead = walk.axes(shape[:-2], [view.strides[:-2] for view in walk.views])
    if mode.count > 1:
        lead.insert(len(lead) if mode.wide else 0, walk.events())
    with ExitStack() as stack:
        for axis in lead:
            stack.enter_context(walk.enter(axis))
        _TableReduction(walk, statement, lead, rows, columns).write()


class _TableReduction:
    """Writes the loops over one table."""

    def __init__(self, walk: Walk, statement: ReduceBoth, lead: Sequence[Axis], rows: View, columns: View) -> None:  # fmt: skip
        self.walk, self.statement, self.rows, self.columns = walk, statement, rows, columns
        rank = len(statement.value.shape)
        self.across, self.along = (
            Axis(size, tuple(view.strides[axis] * walk.mode.factor(view) for view in walk.views))
            for axis, size in ((rank - 2, rows.shape[-2]), (rank - 1, rows.shape[-1]))
        )
        walk.plan = [*lead, self.across, self.along]
        self.width = 1 if walk.mode.wide else walk.mode.lanes
        self.sums = walk.writer.name("c")  # narrow: a vector per column, since the lanes are rows

    def write(self) -> None:
        """Write the first block of rows, a loop over the following ones, and the remaining rows."""
        walk = self.walk
        units, short = divmod(self.across.size, self.width)
        together = max(1, min(BLOCK_ROWS, units))
        rounds, rest = divmod(units, together)
        if not walk.mode.wide:
            walk.writer.line(f"V {self.sums}[{self.along.size}];")
            walk.vector = self.across
        if rounds:
            with walk.once(self._far(0)):
                self._round(together, first=True)
        if rounds > 1:
            with walk.once(self._far(together)), walk.enter(Axis(rounds - 1, self._far(together))):
                self._round(together, first=False)
        if rest:
            with walk.once(self._far(rounds * together)):
                self._round(rest, first=False)
        if short:
            walk.filled = short
            with walk.once(self._far(units)):
                self._round(1, first=not rounds)
            walk.filled = walk.mode.lanes
        walk.vector = None
        if not walk.mode.wide:
            with walk.enter(self.along):
                value = f"{OVER_LANES[self.statement.kind]}({self.sums}[{walk.loops[-1][0]}])"
                walk.writer.line(f"*({walk.address(self.columns)}) = {value};")

    def _far(self, units: int) -> tuple[int, ...]:
        return tuple(stride * units * self.width for stride in self.across.strides)

    def _round(self, count: int, *, first: bool) -> None:
        """Write a block of `count` rows, or vectors of them: the result of each row, and the columns' results so far."""
        walk, writer, kind = self.walk, self.walk.writer, self.statement.kind
        depth = len(walk.plan) - 2
        arithmetic = Arithmetic(writer, walk.read, walk.depth)
        arithmetic.innermost = depth
        walk.beside = self._far(1)
        arithmetic.prepare(self.statement.value, depth, count)
        totals = [writer.name("a") for _ in range(count)]
        for total in totals:
            writer.line(f"V {total} = all({IDENTITIES[kind]});")
        with walk.enter(self.along):
            names = arithmetic.texts(self.statement.value, count)
            for total, name in zip(totals, names, strict=True):
                writer.line(f"{total} = {REDUCING[kind]}({total}, {name});")
            best = _halved(REDUCING[kind], names)
            if walk.mode.wide:
                before = f"ld({walk.address(self.columns)})"
                walk.write(self.columns, best if first else f"{REDUCING[kind]}({before}, {best})")
            else:
                if walk.filled != walk.mode.lanes:
                    best = f"first_({best}, {IDENTITIES[kind]}, {walk.filled})"
                column = f"{self.sums}[{walk.loops[-1][0]}]"
                writer.line(f"{column} = {best if first else f'{REDUCING[kind]}({column}, {best})'};")
        for copy, total in enumerate(totals):
            walk.write(self.rows, total, copy)
        walk.beside = (0,) * len(walk.views)


def _halved(function: str, names: Sequence[str]) -> str:
    """Return the C that reduces some values in halves."""
    if len(names) == 1:
        return names[0]
    half = len(names) // 2
    return f"{function}({_halved(function, names[:half])}, {_halved(function, names[half:])})"
