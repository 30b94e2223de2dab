"""A product that is added to something, or subtracted, becomes one instruction with one rounding.

1. `a b + c` and `c + a b` become fma(a, b, c).
2. `a b - c` becomes fms(a, b, c).
3. `c - a b` becomes fnma(a, b, c).

A sum of two products keeps the second one: `a b + c d` is fma(a, b, c d).
"""

from __future__ import annotations

from dataclasses import replace

from tamis.native.expression import Call, Expression
from tamis.native.passes.base import Pass
from tamis.native.passes.conditions import PRODUCTS_FUSED, SUMS_UNFINISHED
from tamis.native.program import Program


class FuseMultiplyAdd(Pass):
    """Join products with the sums and differences that use them."""

    name = "fuse-multiply-add"
    requires = (SUMS_UNFINISHED,)
    ensures = (PRODUCTS_FUSED,)

    def apply(self, program: Program) -> Program:
        """Rewrite every expression, each distinct subtree of a statement once."""
        return program.mapped(lambda statement: statement.map_expressions(lambda value: _fused(value, {})))


def _fused(value: Expression, known: dict[Expression, Expression]) -> Expression:
    if not isinstance(value, Call):
        return value
    result = known.get(value)
    if result is None:
        arguments = tuple(_fused(one, known) for one in value.arguments)
        result = known[value] = _fused_root(replace(value, arguments=arguments))
    return result


def _fused_root(value: Call) -> Call:
    if value.function in ("add", "sub"):
        first, second = value.arguments
        if isinstance(first, Call) and first.function == "mul":
            function = "fma" if value.function == "add" else "fms"
            return replace(value, function=function, arguments=(*first.arguments, second))
        if isinstance(second, Call) and second.function == "mul":
            function = "fma" if value.function == "add" else "fnma"
            return replace(value, function=function, arguments=(*second.arguments, first))
    return value
