"""Large sets of weights are rounded to bfloat16 or 8-bit integers, where a user asks for it: less has to be read from memory.

1. `bfloat16`: each weight is rounded to the nearest bfloat16, ties to even.
2. `int8`: `y = contract(x, w)` becomes `y = scale[o] contract(x, q)` with integers q from -127 to 127. Contractions whose sums
   begin with something other than their bias, as in recurrent layers, stay as they are.

Sums stay float32. Whether a model tolerates this is for its golden events to decide.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tamis.native.emission.tuning import MIN_PACKED_WEIGHTS
from tamis.native.expression import Accumulator, Call, Load, mapped
from tamis.native.passes.base import Pass
from tamis.native.passes.conditions import NOT_TILED
from tamis.native.program import Contract, Program, Statement
from tamis.native.view import Buffer, Role, View

LARGEST_INT8 = 127  # to either side, so that a weight and its negative are rounded alike


@dataclass(frozen=True)
class RoundWeights(Pass):
    """Round weights to `bfloat16` or `int8`; `float32` leaves them as they are."""

    precision: str
    name = "round-weights"
    requires = (NOT_TILED,)

    def apply(self, program: Program) -> Program:
        """Rewrite the contractions of many weights."""
        if self.precision == "float32":
            return program
        constants = dict(program.constants)

        def rounded(statement: Statement) -> Statement:
            if not isinstance(statement, Contract) or statement.weights.size < MIN_PACKED_WEIGHTS:
                return statement
            if self.precision == "bfloat16":
                weights = np.ascontiguousarray(statement.weights, np.float32)
                bits = weights.view(np.uint32)
                even = (bits >> 16) & 1  # ties go to the even one
                nearest = (bits + 0x7FFF + even) & np.uint32(0xFFFF0000)
                return replace(statement, weights=nearest.view(np.float32))
            return statement if statement.start is not None else _int8(statement, constants)

        return replace(program.mapped(rounded), constants=constants)


def _int8(statement: Contract, constants: dict[Buffer, np.ndarray]) -> Contract:
    """Return a contraction over integers, with scale and bias applied to its sums; both are added to the constants."""
    weights = statement.weights.astype(np.float64)
    scale = np.abs(weights).max(1) / LARGEST_INT8  # (groups, outputs)
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
    integers = np.rint(weights / scale[:, None]).astype(np.float32)
    factors = []
    for name, values in (("scale", scale), ("bias", statement.bias)):
        buffer = Buffer(f"{len(constants)}:{name}", values.size, Role.CONSTANT)
        constants[buffer] = np.ascontiguousarray(values, np.float32)
        lead = View.whole(buffer, (*values.shape, *(1,) * len(statement.positions)))
        factors.append(Load(lead.expand(statement.out.shape)))
    summed = Accumulator(statement.out.shape)
    value = Call("fma", (summed, *factors), statement.out.shape)
    finish = (
        value
        if statement.finish is None
        else mapped(statement.finish, lambda leaf: value if isinstance(leaf, Accumulator) else leaf)
    )
    return replace(statement, weights=integers, bias=np.zeros_like(statement.bias), finish=finish)
