"""Operators that work element by element."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np

from tamis.fixedpoint.operators.operands import Inexact, Operands, finite, operand
from tamis.fixedpoint.program import (
    Add,
    Maximum,
    Multiply,
    Round,
    Rounding,
    Wrap,
)


def _add(operands: Operands) -> list[int]:
    first, second = operands.values
    if first is not None and second is not None:
        return [operands.pair(Add, first, second)]
    value, other = operands.value_and_constant()
    return [operands.offset(value, operand(other, len(operands.shape(value))))]


def _sub(operands: Operands) -> list[int]:
    first, second = operands.values
    if second is None:
        other = operand(operands.constant(1, "what is subtracted"), _rank(operands, 0))
        return [operands.offset(operands.value(0), -finite(other))]
    negative = operands.scale(second, np.asarray(-1.0))
    if first is not None:
        return [operands.pair(Add, first, negative)]
    other = operand(operands.constant(0, "the minuend"), _rank(operands, 1))
    return [operands.offset(negative, other)]


def _mul(operands: Operands) -> list[int]:
    first, second = operands.values
    if first is not None and second is not None:
        return [operands.pair(Multiply, first, second)]
    value, other = operands.value_and_constant()
    return [operands.scale(value, operand(other, len(operands.shape(value))))]


def _div(operands: Operands) -> list[int]:
    divisor = finite(operands.constant(1, "the divisor"))
    mantissa, _ = np.frexp(divisor)
    if (np.abs(mantissa) != 0.5).any():
        raise Inexact("the divisor is not a power of two")
    return [operands.scale(operands.value(0), 1 / operand(divisor, _rank(operands, 0)))]


def _rank(operands: Operands, index: int) -> int:
    return len(operands.shape(operands.value(index)))


def _neg(operands: Operands) -> list[int]:
    return [operands.scale(operands.value(), np.asarray(-1.0))]


def _abs(operands: Operands) -> list[int]:
    value = operands.value()
    return [operands.pair(Maximum, value, operands.scale(value, np.asarray(-1.0)))]


def _floor(operands: Operands) -> list[int]:
    value = operands.value()
    return [operands.step(Round, [value], operands.shape(value), Rounding.FLOOR)]


def _ceil(operands: Operands) -> list[int]:
    negative = operands.scale(operands.value(), np.asarray(-1.0))
    floor = operands.step(Round, [negative], operands.shape(negative), Rounding.FLOOR)
    return [operands.scale(floor, np.asarray(-1.0))]


def _round(operands: Operands) -> list[int]:
    value = operands.value()
    return [operands.step(Round, [value], operands.shape(value), Rounding.HALF_EVEN)]


def _clip(operands: Operands) -> list[int]:
    value = operands.value()
    bounds = []
    for index, name, none in ((1, "min", -np.inf), (2, "max", np.inf)):
        given = index < len(operands.constants) and bool(operands.node.input[index])
        bound = operands.constant(index, f"the {name}") if given else operands.attributes.get(name, none)
        bounds.append(np.asarray(bound, np.float64))
    return [operands.clip(value, *bounds)]


def _relu(operands: Operands) -> list[int]:
    return [operands.clip(operands.value(), 0.0, np.inf)]


def _leaky_relu(operands: Operands) -> list[int]:
    slope = float(np.float32(operands.attributes.get("alpha", 0.01)))
    if not 0 <= slope <= 1:
        raise Inexact(f"its slope is {slope:g}, not between 0 and 1")
    value = operands.value()
    return [operands.pair(Maximum, value, operands.scale(value, np.asarray(slope)))]


def _extreme(sign: float) -> Callable[[Operands], list[int]]:
    """Return the operator Max (1) or Min (-1)."""

    def operator(operands: Operands) -> list[int]:
        values = [value for value in operands.values if value is not None]
        constants = [constant for constant in operands.constants if constant is not None]
        if sign < 0:
            values = [operands.scale(value, np.asarray(-1.0)) for value in values]
        result = reduce(lambda first, second: operands.pair(Maximum, first, second), values)
        for constant in constants:
            rank = len(operands.shape(result))
            bound = sign * np.asarray(operand(constant, rank), np.float64)
            result = operands.clip(result, bound, np.inf)
        return [result if sign > 0 else operands.scale(result, np.asarray(-1.0))]

    return operator


def _sum(operands: Operands) -> list[int]:
    values = [operands.value(index) for index in range(len(operands.values))]
    return [reduce(lambda first, second: operands.pair(Add, first, second), values)]


def wrapped(operands: Operands, moduli: np.ndarray) -> list[int]:
    """Translate the end of `u - floor(u / modulus) * modulus`."""
    value = operands.value(0)
    shape = operands.shape(value)
    rank = len(shape)
    return [operands.step(Wrap, [value], shape, np.broadcast_to(operand(moduli, rank), shape))]


def _where(operands: Operands) -> list[int]:
    """Choose by a constant condition."""
    rank = max(len(operands.shape(value)) for value in operands.values if value is not None)
    condition = operand(operands.constant(0, "the condition"), rank)
    values, terms = [], []
    for index, chosen in ((1, condition), (2, ~condition)):
        value = operands.values[index]
        if value is not None and chosen.all():
            return [value]
        if value is not None and chosen.any():
            values.append(operands.scale(value, chosen.astype(np.float64)))
        elif chosen.any():
            terms.append(np.where(chosen, finite(operand(operands.constant(index, "a branch"), rank)), 0.0))
    if not values:
        raise Inexact("it is constant")
    result = values[0] if len(values) == 1 else operands.pair(Add, values[0], values[1])
    return [operands.offset(result, terms[0]) if terms else result]


def _batch_normalization(operands: Operands) -> list[int]:
    scale, bias, mean, variance = (finite(operands.constant(index, "a parameter")) for index in range(1, 5))
    factors = scale / np.sqrt(variance + float(np.float32(operands.attributes.get("epsilon", 1e-5))))
    axes = [1] * (len(operands.shape(operands.value())) - 1)
    terms = bias - mean * factors
    result = operands.scale(operands.value(), factors.reshape(-1, *axes))
    return [operands.offset(result, terms.reshape(-1, *axes))]


ELEMENTWISE_OPERATORS: dict[str, Callable[[Operands], list[int]]] = {
    "Abs": _abs,
    "Add": _add,
    "BatchNormalization": _batch_normalization,
    "Ceil": _ceil,
    "Clip": _clip,
    "Div": _div,
    "Floor": _floor,
    "LeakyRelu": _leaky_relu,
    "Max": _extreme(1.0),
    "Min": _extreme(-1.0),
    "Mul": _mul,
    "Neg": _neg,
    "Relu": _relu,
    "Round": _round,
    "Sub": _sub,
    "Sum": _sum,
    "Where": _where,
}
