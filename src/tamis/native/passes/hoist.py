"""Contractions of a loop's input are computed before the loop, for all iterations at once.

`for t: g = contract(x[t]); ...` becomes `g = contract(x); for t: ... g[t] ...`: iterations become positions, so that weights are read
once for several of them. That pays in narrow mode; in wide mode it would only take memory.
"""

from __future__ import annotations

from dataclasses import replace

from tamis.native.passes.base import Pass
from tamis.native.passes.conditions import LOOPS_HOISTED, NOT_TILED, input_contractions
from tamis.native.program import Loop, Program, Statement
from tamis.native.view import Buffer, View


class HoistContractions(Pass):
    """Move contractions that do not depend on earlier iterations out of loops."""

    name = "hoist-contractions"
    requires = (NOT_TILED,)
    ensures = (LOOPS_HOISTED,)

    def apply(self, program: Program) -> Program:
        """Rewrite every loop."""
        statements: list[Statement] = []
        for statement in program.statements:
            statements += _split(statement) if isinstance(statement, Loop) else [statement]
        return replace(program, statements=statements)


def _split(loop: Loop) -> list[Statement]:
    """Return the contractions that come before a loop, and the rest of the loop."""
    hoisted = list(input_contractions(loop))
    before: list[Statement] = []
    results: dict[Buffer, Buffer] = {}
    for one in hoisted:
        buffer = one.out.buffer
        results[buffer] = Buffer(f"{buffer.name}*{loop.count}", buffer.elements * loop.count)
        x = replace(one.x.insert(len(one.x.shape), loop.count), step=0)
        x = replace(x, strides=(*x.strides[:-1], one.x.step))
        out = replace(one.out.insert(len(one.out.shape), loop.count), buffer=results[buffer])
        out = replace(out, strides=(*out.strides[:-1], buffer.elements))
        before.append(replace(one, x=x, out=out))

    def at_iteration(view: View) -> View:
        buffer = results.get(view.buffer)
        return view if buffer is None else replace(view, buffer=buffer, step=view.buffer.elements)

    body = tuple(one.map_reads(at_iteration) for one in loop.body if one not in hoisted)
    return [*before, replace(loop, body=body)]
