"""The products of a tile stay in registers until the outputs are computed from them.

1. `m = contract(v); y, z = sums of m` becomes one statement, and m is never written.

That pays in wide mode, where all indices are loops, so that all products of one place fit into registers.
"""

from __future__ import annotations

from dataclasses import replace

from tamis.native.expression import Accumulator, Expression, Load, loads, replaced
from tamis.native.passes.base import Pass
from tamis.native.passes.conditions import NOT_TILED
from tamis.native.program import Contract, Maps, Program, Statement, Tiled


class HoldProducts(Pass):
    """Join contractions with the maps that turn their sums into the outputs of tiles."""

    name = "hold-products"
    requires = (NOT_TILED,)

    def apply(self, program: Program) -> Program:
        """Join neighbouring statements."""
        statements: list[Statement] = []
        for statement in program.statements:
            last = statements[-1] if statements else None
            joined = None
            if isinstance(statement, Maps) and isinstance(last, Contract):
                joined = _joined(last, statement)
            if joined is None:
                statements.append(statement)
            else:
                statements[-1] = joined
        return replace(program, statements=statements)


def _joined(contract: Contract, maps: Maps) -> Tiled | None:
    """Return both statements as one, or None where the maps are not of all the sums, or these are not laid out tile by tile."""
    if contract.x.strides[0] != 1 or contract.chains > 1:
        return None
    buffer = contract.out.buffer
    views = {load.view for value in maps.values for load in loads(value) if load.view.buffer == buffer}
    groups, terms, outputs = contract.weights.shape
    inner = maps.outs[0].shape[0]
    size = groups // inner
    part = buffer.elements // size
    shape = maps.outs[0].shape
    whole = contract.out.elements == buffer.elements and contract.out.offset == 0
    offsets = {view.offset for view in views}
    if not whole or len(views) != size or offsets != set(range(0, size * part, part)):
        return None
    if any(view.shape != shape for view in views) or contract.finish or contract.start:
        return None

    def change(load: Load) -> Expression:
        return Accumulator(shape, load.view.offset // part) if load.view.buffer == buffer else load

    x = contract.x
    step = x.strides[0]
    return Tiled(
        replace(
            x,
            shape=(size, inner, *x.shape[1:]),
            strides=(step * inner, step if inner > 1 else 0, *x.strides[1:]),
        ),
        contract.reduced,
        contract.weights.reshape(size, inner, terms, outputs),
        contract.bias.reshape(size, inner, outputs),
        tuple(replaced(value, change) for value in maps.values),
        maps.outs,
    )
