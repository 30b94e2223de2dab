"""What a loop computes from its input alone is computed before it, for all steps together.

`for t: g = contract(x[t]); ...` becomes `g = contract(x); for t: ... g[t] ...`: steps are positions then, and weights are read
once for several of them. It pays where an event is alone; where vectors hold events, it only takes memory.
"""

from __future__ import annotations

from dataclasses import replace

from tamis.native.expression import Expression, Load, replaced
from tamis.native.program import Contract, Loop, Map, Program, Statement, written
from tamis.native.view import Buffer, View


def hoist(program: Program) -> Program:
    """Return the program with such contractions before their loops."""
    statements: list[Statement] = []
    for statement in program.statements:
        if isinstance(statement, Loop):
            statements += _split(statement)
        else:
            statements.append(statement)
    return replace(program, statements=statements)


def _split(loop: Loop) -> list[Statement]:
    changed = {view.buffer for one in loop.body for view in written(one)}
    before: list[Statement] = []
    body: list[Statement] = []
    moved: dict[Buffer, Buffer] = {}
    for one in loop.body:
        if (
            isinstance(one, Contract)
            and one.x.buffer not in changed
            and one.start is None
            and one.finish is None
        ):
            buffer = one.out.buffer
            moved[buffer] = Buffer(f"{buffer.name}*{loop.count}", buffer.elements * loop.count)
            x = replace(one.x.insert(len(one.x.shape), loop.count), step=0)
            x = replace(x, strides=(*x.strides[:-1], one.x.step))
            out = replace(one.out.insert(len(one.out.shape), loop.count), buffer=moved[buffer])
            out = replace(out, strides=(*out.strides[:-1], buffer.elements))
            before.append(replace(one, x=x, out=out))
        else:
            body.append(one)
    return [*before, replace(loop, body=tuple(_reading(one, moved) for one in body))]


def _reading(statement: Statement, moved: dict[Buffer, Buffer]) -> Statement:
    """Return a statement that reads what was computed before at its step."""

    def view(one: View) -> View:
        buffer = moved.get(one.buffer)
        return one if buffer is None else replace(one, buffer=buffer, step=one.buffer.elements)

    def change(load: Load) -> Expression:
        return Load(view(load.view))

    if isinstance(statement, Map):
        return replace(statement, value=replaced(statement.value, change))
    if isinstance(statement, Contract):
        start = None if statement.start is None else view(statement.start)
        finish = None if statement.finish is None else replaced(statement.finish, change)
        return replace(statement, x=view(statement.x), start=start, finish=finish)
    return statement
