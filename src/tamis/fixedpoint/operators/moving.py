"""Operators that move elements, convert them or look them up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import helper

from tamis.bundle.reference import evaluate_node
from tamis.fixedpoint.operators.operands import Inexact, Operands, finite
from tamis.fixedpoint.program import (
    LookUp,
)


def _cast(operands: Operands) -> list[int]:
    value = operands.value()
    kind = helper.tensor_dtype_to_np_dtype(operands.attributes["to"])
    if kind.kind in "iu" and (operands.builder.range_of(value).fractions > 0).any():
        raise Inexact("it truncates fractions; round first")
    if kind.kind not in "iuf":
        raise Inexact(f"it converts to {kind}")
    return [value]


def _gather(operands: Operands) -> list[int]:
    if operands.values[0] is not None:
        return _rearranged(operands)
    table, value = operands.constant(0, "the table"), operands.value(1)
    grid = operands.builder.range_of(value)
    if table.ndim != 1:
        raise Inexact(f"the table has {table.ndim} axes")
    if (grid.fractions > 0).any() or grid.low.min() < 0 or grid.high.max() >= len(table):
        raise Inexact(f"its indices are not integers from 0 to {len(table) - 1}")
    return [operands.step(LookUp, [value], operands.shape(value), finite(table), 0)]


def _pad(operands: Operands) -> list[int]:
    mode = operands.attributes.get("mode", b"constant").decode()
    fill = 0.0
    if len(operands.constants) > 2 and operands.node.input[2]:
        fill = float(operands.constant(2, "the value").ravel()[0])
    pads = operands.attributes.get("pads")
    amounts = np.asarray(pads if pads is not None else operands.constant(1, "the widths"))
    rank = len(operands.shape(operands.value())) + 1
    if mode != "constant" or len(amounts) != 2 * rank or amounts[0] or amounts[rank]:
        raise Inexact(f"padding of mode {mode} with the widths {amounts.tolist()} is not supported")
    widths = list(zip(amounts[1:rank].tolist(), amounts[rank + 1 :].tolist(), strict=True))
    indices = np.pad(operands.places(operands.value()), widths, constant_values=-1)
    return [operands.take([operands.value()], indices, fill)]


def _rearranged(operands: Operands) -> list[int]:
    """Translate an operator that only moves elements, by running it on their indices."""
    values, start, inputs = [], 0, []
    for value, constant in zip(operands.values, operands.constants, strict=True):
        if value is None:
            inputs.append(constant)
            continue
        places = operands.places(value)
        inputs.append((places + start)[None])
        values.append(value)
        start += places.size
    results = evaluate_node(operands.node, inputs, operands.builder.model)
    for result in results:
        if result.shape[:1] != (1,):
            raise Inexact("it mixes events")
    return [operands.take(values, result[0]) for result in results]


MOVING_OPERATORS: dict[str, Callable[[Operands], list[int]]] = {
    "Cast": _cast,
    "Gather": _gather,
    "Pad": _pad,
    **dict.fromkeys(
        (
            "Concat",
            "DepthToSpace",
            "Dropout",
            "Expand",
            "Flatten",
            "Identity",
            "Reshape",
            "Slice",
            "SpaceToDepth",
            "Split",
            "Squeeze",
            "Tile",
            "Transpose",
            "Unsqueeze",
        ),
        _rearranged,
    ),
}
