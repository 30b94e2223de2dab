"""A map whose rows are two or four long, one behind the other, becomes as many maps side by side.

1. `y[i, j] = f(i, j)` for j below 2 becomes `y[i, 0] = f(i, 0), y[i, 1] = f(i, 1)`, together: vectors lie along i then, and are written
   like cards that are collected; what does not depend on j is computed once, as where neighbours are repeated.
"""

from __future__ import annotations

from dataclasses import replace

from tamis.native.expression import Expression, moved
from tamis.native.program import Map, Maps, Program, Statement

ROWS = (2, 4)
FEW = 8  # rows


def side_by_side(program: Program) -> Program:
    """Return the program with such maps taken apart."""
    return replace(program, statements=[_apart(one) for one in program.statements])


def _apart(statement: Statement) -> Statement:
    if not isinstance(statement, Map) or len(statement.out.shape) < 2:
        return statement
    out = statement.out
    size, last = out.shape[-1], len(out.shape) - 1
    if size not in ROWS or out.shape[-2] < FEW or out.strides[-2:] != (size, 1):
        return statement

    def row(number: int) -> Expression:
        return moved(statement.value, lambda view: view.at(last, number), out.shape[:-1])

    return Maps(tuple(map(row, range(size))), tuple(out.at(last, number) for number in range(size)))
