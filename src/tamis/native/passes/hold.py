"""Products of which sums are made are held in registers until they are.

1. `m = contract(v); y, z = sums of m` becomes one statement, and m is never written.

It pays where vectors hold events: there all indices are loops, and several products of one place fit into registers.
"""

from __future__ import annotations

from dataclasses import replace

from tamis.native.expression import Accumulator, Expression, Load, loads, replaced
from tamis.native.program import Contract, Maps, Program, Statement, Tiled


def hold(program: Program) -> Program:
    """Return the program with contractions and the sums of their products as one."""
    found: list[Statement] = []
    for statement in program.statements:
        last = found[-1] if found else None
        joined = None
        if isinstance(statement, Maps) and isinstance(last, Contract):
            joined = _joined(last, statement)
        if joined is None:
            found.append(statement)
        else:
            found[-1] = joined
    return replace(program, statements=found)


def _joined(contract: Contract, maps: Maps) -> Tiled | None:
    if contract.x.strides[0] != 1 or contract.chains > 1:  # not laid out for that
        return None
    buffer = contract.out.buffer
    seen = {load.view for value in maps.values for load in loads(value) if load.view.buffer == buffer}
    groups, terms, outputs = contract.weights.shape
    inner = maps.outs[0].shape[0]
    size = groups // inner
    part = buffer.elements // size
    shape = maps.outs[0].shape
    whole = contract.out.elements == buffer.elements and contract.out.offset == 0
    if not whole or len(seen) != size or {view.offset for view in seen} != set(range(0, size * part, part)):
        return None
    if any(view.shape != shape for view in seen) or contract.finish or contract.start:
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
