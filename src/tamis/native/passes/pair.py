"""A table that is reduced by rows and by columns is computed once.

1. `a[i] = min over j of t(i, j); b[j] = min over i of t(i, j)`, one after the other, become one statement, as for the distances from
   each of some points to the nearest of others and back. Only minima and maxima: they do not depend on the order.

Small tables stay as they are, and those of which a row would take much of the L1 cache.
"""

from __future__ import annotations

from dataclasses import replace

from tamis.native.passes.base import Pass
from tamis.native.program import Program, Reduce, ReduceBoth, Statement
from tamis.native.sizes import is_fixed
from tamis.native.thresholds import PAIRED_COLUMNS, PAIRED_ROWS


class PairReductions(Pass):
    """Join reductions of the same table by rows and by columns."""

    name = "pair-reductions"

    def apply(self, program: Program) -> Program:
        """Join neighbouring reductions."""
        statements: list[Statement] = []
        for statement in program.statements:
            last = statements[-1] if statements else None
            if isinstance(statement, Reduce) and isinstance(last, Reduce) and _are_two_sides(last, statement):
                statements[-1] = ReduceBoth(last.kind, last.value, last.out, statement.out)
            else:
                statements.append(statement)
        return replace(program, statements=statements)


def _are_two_sides(one: Reduce, other: Reduce) -> bool:
    """Return whether one reduction is over the rows and the other over the columns of the same table."""
    shape = one.value.shape
    tables = all(len(each.value.shape) == len(each.out.shape) + 1 for each in (one, other))
    if (
        not tables
        or len(shape) < 2
        or not is_fixed(*shape[-2:])
        or min(shape[-2:]) < PAIRED_ROWS
        or shape[-1] > PAIRED_COLUMNS
    ):
        return False
    if one.kind != other.kind or one.kind not in ("min", "max"):
        return False
    rank, across = len(shape), other.value.shape
    if len(across) != rank or any(view.buffer == one.out.buffer for view in other.reads()):
        return False
    order = (*range(rank - 2), rank - 1, rank - 2)
    transposed = other.value.moved(lambda view: view.permute(order), tuple(across[axis] for axis in order))
    return transposed == one.value
