"""A gate that is open by a sigmoid and lets a tanh through takes one division instead of two.

1. `sigmoid(a) tanh(b)` and `tanh(b) sigmoid(a)` become gate(a, b), as in recurrent layers.

It is left alone where the sigmoid or the tanh is needed for something else, too.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from tamis.native.expression import Call, Expression
from tamis.native.program import Loop, Map, Program, Statement


def fuse_gate(program: Program) -> Program:
    """Return the program with such products as one function."""
    return replace(program, statements=[_statement(one) for one in program.statements])


def _statement(statement: Statement) -> Statement:
    if isinstance(statement, Map):
        return replace(statement, value=_joined(statement.value, _uses(statement.value, Counter())))
    if isinstance(statement, Loop):
        return replace(statement, body=tuple(map(_statement, statement.body)))
    return statement


def _uses(value: Expression, found: Counter[Expression]) -> Counter[Expression]:
    """Count how often each part of an expression is needed."""
    found[value] += 1
    if isinstance(value, Call) and found[value] == 1:
        for one in value.arguments:
            _uses(one, found)
    return found


def _joined(value: Expression, uses: Counter[Expression]) -> Expression:
    if not isinstance(value, Call):
        return value
    if value.function == "mul":
        gates = {one.function: one for one in value.arguments if isinstance(one, Call) and uses[one] == 1}
        if gates.keys() == {"sigmoid", "tanh"}:
            arguments = tuple(_joined(gates[name].arguments[0], uses) for name in ("sigmoid", "tanh"))
            return replace(value, function="gate", arguments=arguments)
    return replace(value, arguments=tuple(_joined(one, uses) for one in value.arguments))
