"""A map over rows of two or four contiguous elements becomes one statement that writes two or four maps over columns.

1. `y[i, j] = f(i, j)` for j < 2 becomes `y[i, 0] = f(i, 0), y[i, 1] = f(i, 1)`: vectors are along i and are interleaved when they are
   stored; what does not depend on j, as in nearest-neighbour upsampling, is computed once.
"""

from __future__ import annotations

from dataclasses import replace

from tamis.native.expression import Expression
from tamis.native.passes.base import Pass
from tamis.native.program import Map, Maps, Program, Statement
from tamis.native.sizes import is_fixed
from tamis.native.thresholds import SPLIT_LENGTHS, SPLIT_ROWS


class SplitShortRows(Pass):
    """Split maps over short rows by columns."""

    name = "split-short-rows"

    def apply(self, program: Program) -> Program:
        """Rewrite the maps outside of loops."""
        return replace(program, statements=[_split(one) for one in program.statements])


def _split(statement: Statement) -> Statement:
    if not isinstance(statement, Map) or len(statement.out.shape) < 2:
        return statement
    out = statement.out
    size, last = out.shape[-1], len(out.shape) - 1
    if (
        not is_fixed(out.shape[-2])
        or size not in SPLIT_LENGTHS
        or out.shape[-2] < SPLIT_ROWS
        or out.strides[-2:] != (size, 1)
    ):
        return statement

    def column(number: int) -> Expression:
        return statement.value.moved(lambda view: view.at(last, number), out.shape[:-1])

    return Maps(tuple(map(column, range(size))), tuple(out.at(last, number) for number in range(size)))
