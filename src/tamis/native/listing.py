"""A program as people read it: each buffer, and each statement with the views it reads and writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tamis.native.expression import Accumulator, Expression, Load, Number
from tamis.native.program import (
    Choice,
    Contract,
    Loop,
    Map,
    Maps,
    Order,
    Pick,
    Product,
    Program,
    Put,
    Reduce,
    ReduceBoth,
    Statement,
    Tiled,
)
from tamis.native.view import Role, View, row_major

MARKS = {Role.INPUT: "in ", Role.OUTPUT: "out ", Role.SCRATCH: "", Role.CONSTANT: "const "}


def listing(program: Program) -> str:
    """Return the program, a line per statement; a view is `buffer[shape]`, with its strides where it is not in C order."""
    lines = [f"input {one.name}: {one.elements} floats" for one in program.inputs]
    lines += [f"constant {one.name}: {one.elements} floats" for one in program.constants]
    for number, one in enumerate(program.statements):
        first, *others = _lines(one)
        lines += [f"{number:4} {first}", *(f"     {line}" for line in others)]
    lines += [f"output {one.name}: {one.elements} floats" for one in program.outputs]
    return "\n".join(lines) + "\n"


def _lines(statement: Statement) -> Iterator[str]:
    if isinstance(statement, Loop):
        yield f"loop {statement.count} times"
        yield from (f"  {line}" for line in _indented(statement.body))
    elif isinstance(statement, Map):
        yield f"{_view(statement.out)} = {_tree(statement.value)}"
    elif isinstance(statement, Maps):
        yield f"together {len(statement.outs)} of"
        yield from _pairs(statement.values, statement.outs)
    elif isinstance(statement, Reduce):
        yield f"{_view(statement.out)} = {statement.kind} over {_over(statement)} of {_tree(statement.value)}"
    elif isinstance(statement, ReduceBoth):
        yield f"{_view(statement.rows)} and {_view(statement.columns)} = {statement.kind} of rows and columns of {_tree(statement.value)}"
    elif isinstance(statement, Product):
        yield f"{_view(statement.out)} = {_view(statement.left)} @ {_view(statement.right)}"
    elif isinstance(statement, Contract):
        yield _contract(statement)
    elif isinstance(statement, Tiled):
        size, groups, terms, outputs = statement.weights.shape
        told = f"{groups} groups of " if groups > 1 else ""
        yield f"together {len(statement.outs)} of {size} sums of {_view(statement.x)} . weights({told}{terms} x {outputs})"
        yield from _pairs(statement.values, statement.outs)
    elif isinstance(statement, Pick):
        yield f"{_view(statement.out)} = {_view(statement.source)} at {_places(statement.choices)}"
    elif isinstance(statement, Put):
        how = "=" if statement.kind == "set" else f"{statement.kind}="
        yield f"{_view(statement.out)} at {_places(statement.choices)} {how} {_view(statement.source)}"
    elif isinstance(statement, Order):
        yield _order(statement)


def _pairs(values: Iterable[Expression], outs: Iterable[View]) -> Iterator[str]:
    yield from (f"  {_view(out)} = {_tree(value)}" for value, out in zip(values, outs, strict=True))


def _indented(body: Iterable[Statement]) -> Iterator[str]:
    for one in body:
        yield from _lines(one)


def _over(statement: Reduce) -> str:
    return "x".join(map(str, statement.value.shape[len(statement.out.shape) :]))


def _contract(statement: Contract) -> str:
    groups, terms, outputs = statement.weights.shape
    told = f"{groups} groups of " if groups > 1 else ""
    start = f" + {_view(statement.start)}" if statement.start is not None else ""
    summed = f"bias{start} + {_view(statement.x)} . weights({told}{terms} x {outputs})"
    if statement.chains > 1:
        summed += f" in {statement.chains} chains"
    finish = "" if statement.finish is None else f", then {_tree(statement.finish)}"
    return f"{_view(statement.out)} = {summed}{finish}"


def _places(choices: Iterable[Choice]) -> str:
    return " and ".join(f"{_view(one.places)} (of {one.size}, {one.stride} apart)" for one in choices)


def _order(statement: Order) -> str:
    outs = [
        f"{what} {_view(view)}"
        for what, view in (("values", statement.values), ("places", statement.places))
        if view is not None
    ]
    which = "largest" if statement.largest else "smallest"
    return f"{', '.join(outs)} = the {statement.count} {which} of each row of {_view(statement.value)}"


def _view(view: View) -> str:
    told = f"{MARKS[view.buffer.role]}{view.buffer.name}[{', '.join(map(str, view.shape))}]"
    pairs = zip(view.shape, view.strides, row_major(view.shape), strict=True)
    if any(stride != usual for size, stride, usual in pairs if size != 1):
        told += f" by ({', '.join(map(str, view.strides))})"
    if view.offset:
        told += f" from {view.offset}"
    return told + (f" + {view.step} per turn" if view.step else "")


def _tree(expression: Expression) -> str:
    if isinstance(expression, Number):
        return f"{expression.value:g}"
    if isinstance(expression, Load):
        return _view(expression.view)
    if isinstance(expression, Accumulator):
        return f"sum{expression.number}" if expression.number else "sum"
    return f"{expression.function}({', '.join(map(_tree, expression.arguments))})"
