"""A product that is added to or subtracted from something is one instruction, and is rounded once.

1. `a b + c` and `c + a b` become fma(a, b, c).
2. `a b - c` becomes fms(a, b, c).
3. `c - a b` becomes fnma(a, b, c).

A sum of two products keeps the second one: `a b + c d` is fma(a, b, c d).
"""

from __future__ import annotations

from dataclasses import replace

from tamis.native.expression import Call, Expression
from tamis.native.program import Loop, Map, Program, Reduce, Statement


def fuse_multiply(program: Program) -> Program:
    """Return the program with products and sums joined."""
    return replace(program, statements=[_statement(one, {}) for one in program.statements])


def _statement(statement: Statement, known: dict[Expression, Expression]) -> Statement:
    if isinstance(statement, Map | Reduce):
        return replace(statement, value=_joined(statement.value, known))
    if isinstance(statement, Loop):
        return replace(statement, body=tuple(_statement(one, known) for one in statement.body))
    return statement


def _joined(value: Expression, known: dict[Expression, Expression]) -> Expression:
    if not isinstance(value, Call):
        return value
    found = known.get(value)
    if found is None:
        arguments = tuple(_joined(one, known) for one in value.arguments)
        found = known[value] = _one(replace(value, arguments=arguments))
    return found


def _one(value: Call) -> Call:
    if value.function in ("add", "sub"):
        first, second = value.arguments
        if isinstance(first, Call) and first.function == "mul":
            function = "fma" if value.function == "add" else "fms"
            return replace(value, function=function, arguments=(*first.arguments, second))
        if isinstance(second, Call) and second.function == "mul":
            function = "fma" if value.function == "add" else "fnma"
            return replace(value, function=function, arguments=(*second.arguments, first))
    return value
