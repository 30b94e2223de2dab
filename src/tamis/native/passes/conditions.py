"""The conditions that passes require and ensure beyond a well-formed program."""

from __future__ import annotations

from collections.abc import Iterator

from tamis.native.expression import Call, Expression, nodes
from tamis.native.passes.base import ProgramCondition
from tamis.native.program import Contract, Loop, Program, Statement, Tiled


def every_statement(program: Program) -> Iterator[Statement]:
    """Yield the statements of a program, each loop before its body."""
    for statement in program.statements:
        yield statement
        yield from statement.nested()


def _unfused_products(program: Program) -> Iterator[Expression]:
    for statement in every_statement(program):
        for node in (node for value in statement.expressions() for node in nodes(value)):
            sums = isinstance(node, Call) and node.function in ("add", "sub")
            if sums and any(isinstance(one, Call) and one.function == "mul" for one in node.operands):
                yield node


def _finished(program: Program) -> Iterator[Contract]:
    return (one for one in every_statement(program) if isinstance(one, Contract) and one.finish is not None)


def _tiled(program: Program) -> Iterator[Tiled]:
    return (one for one in every_statement(program) if isinstance(one, Tiled))


def input_contractions(loop: Loop) -> Iterator[Contract]:
    """Yield the contractions in a loop that depend on nothing which the loop writes."""
    changed = {view.buffer for view in loop.writes()}
    for one in loop.body:
        if not isinstance(one, Contract) or one.x.buffer in changed:
            continue
        if one.start is None and one.finish is None:
            yield one


def _unhoisted(program: Program) -> Iterator[Contract]:
    for statement in program.statements:
        if isinstance(statement, Loop):
            yield from input_contractions(statement)


PRODUCTS_FUSED = ProgramCondition("no sum or difference has a product as operand", _unfused_products)
SUMS_UNFINISHED = ProgramCondition("no contraction has a function applied to its sums", _finished)
NOT_TILED = ProgramCondition("no convolution is computed by tiles", _tiled)
LOOPS_HOISTED = ProgramCondition("no loop contracts its input alone", _unhoisted)
