"""Weights in less room: rounded, where a user asked for it and many of them have to come from memory.

1. `bfloat16`: each weight is rounded to the nearest number of eight bits; sums are made as before.
2. `int8`: `y = contract(x, w)` becomes `y = scale[o] contract(x, q)` with whole numbers q, at most 127 of them to either side. Sums that
   begin with something other than their bias, as in recurrent layers, stay as they are.

Sums are floats as before. Whether a model bears that is for its golden events to say.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tamis.native.emission.tuning import MIN_PACKED_WEIGHTS
from tamis.native.expression import Accumulator, Call, Expression, Load
from tamis.native.program import Contract, Loop, Program, Statement
from tamis.native.view import Buffer, Role, View

LARGEST = 127


def round_weights(program: Program, precision: str) -> Program:
    """Return the program with its large sets of weights rounded."""
    found = replace(program, constants=dict(program.constants), statements=[])
    found.statements += [_statement(one, found, precision) for one in program.statements]
    return found


def _statement(statement: Statement, program: Program, precision: str) -> Statement:
    if isinstance(statement, Loop):
        body = (_statement(one, program, precision) for one in statement.body)
        return replace(statement, body=tuple(body))
    if not isinstance(statement, Contract) or statement.weights.size < MIN_PACKED_WEIGHTS:
        return statement
    if precision == "bfloat16":
        return replace(statement, weights=_bfloat16(statement.weights))
    return statement if statement.start is not None else _int8(statement, program)


def _bfloat16(values: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    even = (bits >> 16) & 1  # ties go to the even one
    return ((bits + 0x7FFF + even) & np.uint32(0xFFFF0000)).view(np.float32).reshape(values.shape)


def _int8(statement: Contract, program: Program) -> Contract:
    weights = statement.weights.astype(np.float64)
    scale = np.abs(weights).max(1) / LARGEST  # (groups, outputs)
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
    whole = np.rint(weights / scale[:, None]).astype(np.float32)
    held = []
    for name, values in (("scale", scale), ("bias", statement.bias)):
        buffer = Buffer(f"{len(program.constants)}:{name}", values.size, Role.CONSTANT)
        program.constants[buffer] = np.ascontiguousarray(values, np.float32)
        lead = View.whole(buffer, (*values.shape, *(1,) * len(statement.positions)))
        held.append(Load(lead.expand(statement.out.shape)))
    summed = Accumulator(statement.out.shape)
    value = Call("fma", (summed, held[0], held[1]), statement.out.shape)
    finish = value if statement.finish is None else _put(statement.finish, value)
    return replace(statement, weights=whole, bias=np.zeros_like(statement.bias), finish=finish)


def _put(finish: Expression, value: Expression) -> Expression:
    """Put a value in the place of the sums."""
    if isinstance(finish, Accumulator):
        return value
    if isinstance(finish, Call):
        return replace(finish, arguments=tuple(_put(one, value) for one in finish.arguments))
    return finish
