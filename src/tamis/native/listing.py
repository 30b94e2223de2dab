"""A program as text: each buffer, and each statement with the views that it reads and writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import singledispatch

import numpy as np

from tamis.native.expression import Accumulator, Call, Expression, Load, Number
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

ROLE_PREFIXES = {Role.INPUT: "in ", Role.OUTPUT: "out ", Role.SCRATCH: "", Role.CONSTANT: "const "}


def listing(program: Program) -> str:
    """Return the program, a line per statement; a view is `buffer[shape]`, with its strides where it is not in C order."""
    lines = [f"input {one.name}: {one.elements} floats" for one in program.inputs]
    lines += [f"constant {one.name}: {one.elements} floats" for one in program.constants]
    for number, one in enumerate(program.statements):
        first, *others = statement_lines(one)
        lines += [f"{number:4} {first}", *(f"     {line}" for line in others)]
    lines += [f"output {one.name}: {one.elements} floats" for one in program.outputs]
    return "\n".join(lines) + "\n"


@singledispatch
def statement_lines(statement: Statement) -> Iterator[str]:
    """Yield the lines of a statement."""
    raise NotImplementedError(f"no listing for {type(statement).__name__}")


@statement_lines.register
def _loop(statement: Loop) -> Iterator[str]:
    yield f"loop {statement.count} times"
    for one in statement.body:
        yield from (f"  {line}" for line in statement_lines(one))


@statement_lines.register
def _map(statement: Map) -> Iterator[str]:
    yield f"{_view(statement.out)} = {_tree(statement.value)}"


@statement_lines.register
def _maps(statement: Maps) -> Iterator[str]:
    yield f"together {len(statement.outs)} of"
    yield from _assignments(statement.values, statement.outs)


@statement_lines.register
def _reduce(statement: Reduce) -> Iterator[str]:
    sizes = "x".join(map(str, statement.value.shape[len(statement.out.shape) :]))
    yield f"{_view(statement.out)} = {statement.kind} over {sizes} of {_tree(statement.value)}"


@statement_lines.register
def _reduce_both(statement: ReduceBoth) -> Iterator[str]:
    yield f"{_view(statement.rows)} and {_view(statement.columns)} = {statement.kind} of rows and columns of {_tree(statement.value)}"


@statement_lines.register
def _product(statement: Product) -> Iterator[str]:
    yield f"{_view(statement.out)} = {_view(statement.left)} @ {_view(statement.right)}"


@statement_lines.register
def _contract(statement: Contract) -> Iterator[str]:
    start = f" + {_view(statement.start)}" if statement.start is not None else ""
    summed = f"bias{start} + {_view(statement.x)} . {_weights(statement.weights)}"
    if statement.chains > 1:
        summed += f" in {statement.chains} chains"
    finish = "" if statement.finish is None else f", then {_tree(statement.finish)}"
    yield f"{_view(statement.out)} = {summed}{finish}"


@statement_lines.register
def _tiled(statement: Tiled) -> Iterator[str]:
    sums = f"{len(statement.weights)} sums of {_view(statement.x)} . {_weights(statement.weights[0])}"
    yield f"together {len(statement.outs)} of {sums}"
    yield from _assignments(statement.values, statement.outs)


@statement_lines.register
def _pick(statement: Pick) -> Iterator[str]:
    yield f"{_view(statement.out)} = {_view(statement.source)} at {_places(statement.choices)}"


@statement_lines.register
def _put(statement: Put) -> Iterator[str]:
    sign = "=" if statement.kind == "set" else f"{statement.kind}="
    yield f"{_view(statement.out)} at {_places(statement.choices)} {sign} {_view(statement.source)}"


@statement_lines.register
def _order(statement: Order) -> Iterator[str]:
    outs = [
        f"{what} {_view(view)}"
        for what, view in (("values", statement.values), ("places", statement.places))
        if view is not None
    ]
    which = "largest" if statement.largest else "smallest"
    yield f"{', '.join(outs)} = the {statement.count} {which} of each row of {_view(statement.value)}"


def _assignments(values: Iterable[Expression], outs: Iterable[View]) -> Iterator[str]:
    yield from (f"  {_view(out)} = {_tree(value)}" for value, out in zip(values, outs, strict=True))


def _weights(weights: np.ndarray) -> str:
    groups, terms, outputs = weights.shape
    return f"weights({f'{groups} groups of ' if groups > 1 else ''}{terms} x {outputs})"


def _places(choices: Iterable[Choice]) -> str:
    return " and ".join(f"{_view(one.places)} (of {one.size}, {one.stride} apart)" for one in choices)


def _view(view: View) -> str:
    text = f"{ROLE_PREFIXES[view.buffer.role]}{view.buffer.name}[{', '.join(map(str, view.shape))}]"
    pairs = zip(view.shape, view.strides, row_major(view.shape), strict=True)
    if any(stride != usual for size, stride, usual in pairs if size != 1):
        text += f" by ({', '.join(map(str, view.strides))})"
    if view.offset:
        text += f" from {view.offset}"
    return text + (f" + {view.step} per iteration" if view.step else "")


@singledispatch
def _tree(expression: Expression) -> str:
    raise NotImplementedError(f"no listing for {type(expression).__name__}")


@_tree.register
def _number(expression: Number) -> str:
    return f"{expression.value:g}"


@_tree.register
def _load(expression: Load) -> str:
    return _view(expression.view)


@_tree.register
def _accumulator(expression: Accumulator) -> str:
    return f"sum{expression.number}" if expression.number else "sum"


@_tree.register
def _call(expression: Call) -> str:
    return f"{expression.function}({', '.join(map(_tree, expression.arguments))})"
