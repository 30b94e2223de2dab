"""A sigmoid times a tanh, as in recurrent layers, becomes one function with one division instead of two.

1. `sigmoid(a) tanh(b)` and `tanh(b) sigmoid(a)` become gate(a, b).

Products whose sigmoid or tanh is used elsewhere in the expression stay as they are.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from tamis.native.expression import Call, Expression
from tamis.native.passes.base import Pass
from tamis.native.program import Map, Program, Statement


class FuseGate(Pass):
    """Join sigmoids with the tanh that they multiply."""

    name = "fuse-gate"

    def apply(self, program: Program) -> Program:
        """Rewrite the expressions of maps."""
        return program.mapped(_fused_statement)


def _fused_statement(statement: Statement) -> Statement:
    if not isinstance(statement, Map):
        return statement
    uses: Counter[Expression] = Counter()
    _count(statement.value, uses)
    return replace(statement, value=_fused(statement.value, uses))


def _count(value: Expression, uses: Counter[Expression]) -> None:
    """Count how often each subtree is used, those inside shared subtrees once."""
    uses[value] += 1
    if uses[value] == 1:
        for operand in value.operands:
            _count(operand, uses)


def _fused(value: Expression, uses: Counter[Expression]) -> Expression:
    if not isinstance(value, Call):
        return value
    if value.function == "mul":
        factors = {one.function: one for one in value.arguments if isinstance(one, Call) and uses[one] == 1}
        if factors.keys() == {"sigmoid", "tanh"}:
            arguments = tuple(_fused(factors[name].arguments[0], uses) for name in ("sigmoid", "tanh"))
            return replace(value, function="gate", arguments=arguments)
    return replace(value, arguments=tuple(_fused(one, uses) for one in value.arguments))
