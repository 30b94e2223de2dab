"""A table reduced by rows and by columns in C, a few rows (or vectors of them) at a time; each element is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from tamis.native.emission.arithmetic import Arithmetic
from tamis.native.emission.elementwise import FIRST, STEP
from tamis.native.emission.loops import Axis
from tamis.native.emission.mode import Mode
from tamis.native.emission.walk import Walk
from tamis.native.emission.writer import Writer
from tamis.native.expression import loads
from tamis.native.program import ReduceBoth
from tamis.native.view import View

ROWS = 4  # together
OF_LANES = {"min": "least", "max": "largest"}


def emit_both(writer: Writer, mode: Mode, statement: ReduceBoth) -> None:
    """Write such a statement."""
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
        _Table(walk, statement, lead, rows, columns).write()


class _Table:
    """One table while it is written."""

    def __init__(self, walk: Walk, statement: ReduceBoth, lead: Sequence[Axis], rows: View, columns: View) -> None:  # fmt: skip
        self.walk, self.statement, self.rows, self.columns = walk, statement, rows, columns
        rank = len(statement.value.shape)
        self.across, self.along = (
            Axis(size, tuple(view.strides[place] * walk.mode.factor(view) for view in walk.views))
            for place, size in ((rank - 2, rows.shape[-2]), (rank - 1, rows.shape[-1]))
        )
        walk.plan = [*lead, self.across, self.along]
        self.width = 1 if walk.mode.wide else walk.mode.lanes
        self.sums = walk.writer.name("c")  # of the columns, lane by lane, where lanes are rows

    def write(self) -> None:
        """Write the first rows, then as many at a time, then what is left of them."""
        walk = self.walk
        units, short = divmod(self.across.size, self.width)
        together = max(1, min(ROWS, units))
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
                value = f"{OF_LANES[self.statement.kind]}({self.sums}[{walk.loops[-1][0]}])"
                walk.writer.line(f"*({walk.address(self.columns)}) = {value};")

    def _far(self, units: int) -> tuple[int, ...]:
        return tuple(stride * units * self.width for stride in self.across.strides)

    def _round(self, count: int, *, first: bool) -> None:
        """Write so many units: each row has its number, and each column takes the best of them."""
        walk, writer, kind = self.walk, self.walk.writer, self.statement.kind
        depth = len(walk.plan) - 2
        arithmetic = Arithmetic(writer, walk.read, walk.depth)
        arithmetic.innermost = depth
        walk.beside = self._far(1)
        arithmetic.prepare(self.statement.value, depth, count)
        totals = [writer.name("a") for _ in range(count)]
        for total in totals:
            writer.line(f"V {total} = all({FIRST[kind]});")
        with walk.enter(self.along):
            names = arithmetic.texts(self.statement.value, count)
            for total, name in zip(totals, names, strict=True):
                writer.line(f"{total} = {STEP[kind]}({total}, {name});")
            best = _best(STEP[kind], names)
            if walk.mode.wide:
                before = f"ld({walk.address(self.columns)})"
                walk.write(self.columns, best if first else f"{STEP[kind]}({before}, {best})")
            else:
                if walk.filled < walk.mode.lanes:
                    best = f"first_({best}, {FIRST[kind]}, {walk.filled})"
                place = f"{self.sums}[{walk.loops[-1][0]}]"
                writer.line(f"{place} = {best if first else f'{STEP[kind]}({place}, {best})'};")
        for copy, total in enumerate(totals):
            walk.write(self.rows, total, copy)
        walk.beside = (0,) * len(walk.views)


def _best(step: str, names: Sequence[str]) -> str:
    """Return the C of the best of some values, in halves."""
    if len(names) == 1:
        return names[0]
    half = len(names) // 2
    return f"{step}({_best(step, names[:half])}, {_best(step, names[half:])})"
