"""A table that is gone through by rows and by columns is gone through once.

1. `a[i] = min over j of t(i, j); b[j] = min over i of t(i, j)`, one after the other, become one statement, as for the distances from
   each of some points to the nearest of others and back. Minima and maxima alone: they do not depend on the order.

It is left alone where the table is small, and where a row would take much of a processor's nearest memory.
"""

from __future__ import annotations

from dataclasses import replace

from tamis.native.expression import Expression, moved
from tamis.native.program import Program, Reduce, ReduceBoth, Statement

SMALL, LARGE = 16, 512  # rows, columns


def pair(program: Program) -> Program:
    """Return the program with such reductions as one."""
    found: list[Statement] = []
    for statement in program.statements:
        last = found[-1] if found else None
        if isinstance(statement, Reduce) and isinstance(last, Reduce) and _are_two_sides(last, statement):
            found[-1] = ReduceBoth(last.kind, last.value, last.out, statement.out)
        else:
            found.append(statement)
    return replace(program, statements=found)


def _are_two_sides(one: Reduce, other: Reduce) -> bool:
    shape = one.value.shape
    tables = all(len(each.value.shape) == len(each.out.shape) + 1 for each in (one, other))
    if not tables or len(shape) < 2 or min(shape[-2:]) < SMALL or shape[-1] > LARGE:
        return False
    if one.kind != other.kind or one.kind not in ("min", "max"):
        return False
    independent = all(view.buffer != one.out.buffer for view in other.reads())
    return independent and _turned(other.value) == one.value


def _turned(value: Expression) -> Expression:
    rank = len(value.shape)
    order = (*range(rank - 2), rank - 1, rank - 2)
    return moved(value, lambda view: view.permute(order), tuple(value.shape[axis] for axis in order))
