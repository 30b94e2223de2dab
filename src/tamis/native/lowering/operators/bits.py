"""Bits of integers, and what wraps around where a type has too few of them."""

from __future__ import annotations

import numpy as np

from tamis.native.expression import Expression, Number, call
from tamis.native.graph import Node
from tamis.native.lowering.context import Context, unsupported
from tamis.native.lowering.operators.elementwise import broadcast_together, wrapped
from tamis.native.lowering.rule import rule

BITWISE = {"BitwiseAnd": "bit_and", "BitwiseOr": "bit_or", "BitwiseXor": "bit_xor"}


@rule("BitShift", accepts={"direction": ("LEFT", "RIGHT")})
def _shift(context: Context, node: Node) -> None:
    """Multiply or divide by a power of 2."""
    value, count = broadcast_together(context, *(context.value(name) for name in node.inputs))
    dtype = context.dtype(node.outputs[0])
    bits = Number(8.0 * dtype.itemsize)
    count = call("where", call("less", count, Number(0.0)), bits, call("min", count, bits))  # nothing is left
    power = call("pow", Number(2.0), count)
    if node.text("direction") == "RIGHT":
        result = call("floor", call("div", value, power))
    else:
        result = wrapped(call("mul", value, power), dtype)
    context.define(node.outputs[0], result)


@rule(*BITWISE)
def _bitwise(context: Context, node: Node) -> None:
    operands: list[Expression] = broadcast_together(context, *(context.value(name) for name in node.inputs))
    context.define(node.outputs[0], call(BITWISE[node.kind], *operands))


@rule("BitwiseNot")
def _complement(context: Context, node: Node) -> None:
    """Return -1 - x, or the largest integer of an unsigned type minus x."""
    dtype = context.dtype(node.outputs[0])
    if dtype.kind == "u" and dtype.itemsize > 2:
        raise unsupported(node, f"its results of {dtype} exceed the integers that are exact")
    largest = float(np.iinfo(dtype).max) if dtype.kind == "u" else -1.0
    context.define(node.outputs[0], call("sub", Number(largest), context.value(node.inputs[0])))
