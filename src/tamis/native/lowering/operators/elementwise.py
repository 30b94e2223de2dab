"""Elementwise operators."""

from __future__ import annotations

import numpy as np

from tamis.native.expression import Expression, Number, broadcast, call
from tamis.native.graph import Node
from tamis.native.lowering.context import Context, unsupported
from tamis.native.lowering.rule import rule
from tamis.native.thresholds import MULTIPLIED_POWER

FUNCTION_OF_OPERATOR = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Neg": "neg", "Abs": "abs", "Sqrt": "sqrt", "Exp": "exp",
    "Log": "log", "Tanh": "tanh", "Erf": "erf", "Sigmoid": "sigmoid", "Relu": "relu", "Floor": "floor", "Ceil": "ceil",
    "Reciprocal": "reciprocal", "Greater": "greater", "Less": "less", "Equal": "equal", "GreaterOrEqual": "greater_equal",
    "LessOrEqual": "less_equal", "And": "mul", "Not": "not", "Or": "max", "Where": "where", "Sin": "sin", "Cos": "cos",
    "Round": "round", "Sign": "sign", "Softplus": "softplus", "IsNaN": "isnan", "Tan": "tan", "Asin": "asin", "Acos": "acos",
    "Atan": "atan", "Sinh": "sinh", "Cosh": "cosh", "Asinh": "asinh", "Acosh": "acosh", "Atanh": "atanh",
}  # fmt: skip
WRAPPING = {"Add", "Sub", "Mul", "Neg", "Abs"}
SHORT_BYTES = 2


def broadcast_together(context: Context, *values: Expression) -> list[Expression]:
    """Broadcast values to one shape."""
    shape = broadcast([value.shape for value in values])
    return [context.broadcast(value, shape) for value in values]


def _inputs(context: Context, node: Node) -> list[Expression]:
    values = [context.value(name) for name in node.inputs]
    if node.has("axis") and node.integer("broadcast", 0) and len(values) == 2:
        # up to opset 6: the axes of the second input begin at this axis of the first
        first, second = values
        axis = node.integer("axis") % max(1, len(first.shape))
        tail = len(first.shape) - axis - len(second.shape)
        values[1] = context.reshape(second, (*second.shape, *[1] * tail))
    return broadcast_together(context, *values)


def wrapped(value: Expression, dtype: np.dtype) -> Expression:
    """Return integers as a type of fewer bits has them: the lowest bits, of which the first one may be a sign."""
    bits = 8 * dtype.itemsize
    rest = call("fmod", value, Number(2.0**bits))
    if dtype.kind == "u":
        return call("where", call("less", rest, Number(0.0)), call("add", rest, Number(2.0**bits)), rest)
    half = 2.0 ** (bits - 1)
    above = call("where", call("less", rest, Number(half)), rest, call("sub", rest, Number(2.0**bits)))
    return call("where", call("less", rest, Number(-half)), call("add", rest, Number(2.0**bits)), above)


def _is_short(dtype: np.dtype) -> bool:
    """Return whether sums of a type may wrap around among the integers that are exact."""
    return dtype.kind in "iu" and dtype.itemsize <= SHORT_BYTES


@rule(*FUNCTION_OF_OPERATOR)
def _plain(context: Context, node: Node) -> None:
    operands, dtype = _inputs(context, node), context.dtype(node.outputs[0])
    result = call(FUNCTION_OF_OPERATOR[node.kind], *operands)
    if node.kind in WRAPPING and _is_short(dtype):
        if node.kind == "Mul" and dtype.itemsize > 1:  # in two parts, each of which is exact
            one, other = operands
            high = call("floor", call("mul", other, Number(2.0**-8)))
            low = call("sub", other, call("mul", high, Number(2.0**8)))
            part = call("mul", wrapped(call("mul", one, high), dtype), Number(2.0**8))
            result = call("add", wrapped(part, dtype), wrapped(call("mul", one, low), dtype))
        result = wrapped(result, dtype)
    context.define(node.outputs[0], result)


@rule("Xor")
def _exclusive_or(context: Context, node: Node) -> None:
    """Xor of booleans, which are 0 and 1."""
    one, other = _inputs(context, node)
    context.define(node.outputs[0], call("abs", call("sub", one, other)))


@rule("Div")
def _divide(context: Context, node: Node) -> None:
    """Divide; quotients of integers are truncated."""
    quotient = call("div", *_inputs(context, node))
    if context.dtype(node.outputs[0]).kind in "iu":
        quotient = call("trunc", quotient)
    context.define(node.outputs[0], quotient)


@rule("Mod")
def _modulo(context: Context, node: Node) -> None:
    """Return the remainder, with the sign of the divisor, or with fmod=1 that of the dividend."""
    name = "fmod" if node.integer("fmod", 0) else "mod"
    context.define(node.outputs[0], call(name, *_inputs(context, node)))


@rule("Max", "Min", "Sum", "Mean")
def _variadic(context: Context, node: Node) -> None:
    """Combine any number of inputs."""
    function = {"Max": "max", "Min": "min", "Sum": "add", "Mean": "add"}[node.kind]
    result, *others = broadcast_together(context, *(context.value(name) for name in node.inputs))
    for other in others:
        result = call(function, context.settled(result), other)
    if node.kind == "Mean":
        result = call("mul", result, Number(1.0 / len(node.inputs)))
    context.define(node.outputs[0], result)


@rule("Cast", "CastLike")
def _cast(context: Context, node: Node) -> None:
    """Truncate floats to integers, compare numbers with 0 for booleans, round to float16; other casts change nothing."""
    source, target = context.dtype(node.inputs[0]), context.dtype(node.outputs[0])
    value = context.value(node.inputs[0])
    if target == np.bool_ and source != np.bool_:
        value = call("not", call("equal", value, Number(0.0)))
    elif target.kind in "iu" and source.kind == "f":
        value = call("trunc", value)
    elif _is_short(target) and source.kind in "iu" and not np.can_cast(source, target):
        value = wrapped(value, target)
    elif target == np.float16 and not np.can_cast(source, target):
        value = call("half", value)
    context.define(node.outputs[0], value)


@rule("IsInf")
def _is_infinite(context: Context, node: Node) -> None:
    """Tell where a value is infinite, of either sign or of one."""
    x = context.value(node.inputs[0])
    positive, negative = node.integer("detect_positive", 1), node.integer("detect_negative", 1)
    if positive and negative:
        result = call("equal", call("abs", x), Number(np.inf))
    elif positive or negative:
        result = call("equal", x, Number(np.inf if positive else -np.inf))
    else:
        result = Number(0.0, x.shape)
    context.define(node.outputs[0], result)


@rule("Clip")
def _clip(context: Context, node: Node) -> None:
    """Clip; NaN propagates. The bounds are attributes up to opset 10, inputs since."""
    value = context.value(node.inputs[0])
    for place, (name, function) in enumerate((("min", "max"), ("max", "min")), start=1):
        if node.input(place):
            bound = context.broadcast(context.value(node.inputs[place]), value.shape)
            value = call(function, bound, value)
        elif node.has(name):
            value = call(function, Number(node.number(name)), value)
    context.define(node.outputs[0], value)


@rule("Pow")
def _power(context: Context, node: Node) -> None:
    """Raise to a power: by multiplications for a small constant integer, by a square root for 1/2."""
    value, exponent = context.value(node.inputs[0]), context.constant(node.inputs[1])
    shape = context.shape(node.outputs[0])
    number = float(exponent.ravel()[0]) if exponent is not None and exponent.size else np.nan
    uniform = exponent is not None and (exponent == number).all()
    if uniform and number == 0.5:
        value = call("sqrt", value)
    elif uniform and number == int(number) and 1 <= abs(number) <= MULTIPLIED_POWER:
        if abs(number) > 2:
            value = context.settled(value, int(abs(number)))
        value = _integer_power(value, int(abs(number)))
        value = call("reciprocal", value) if number < 0 else value
    else:
        value = call("pow", *broadcast_together(context, value, context.value(node.inputs[1])))
    if context.dtype(node.outputs[0]).kind in "iu":
        value = call("trunc", value)
    context.define(node.outputs[0], context.broadcast(value, shape))


def _integer_power(value: Expression, exponent: int) -> Expression:
    if exponent == 1:
        return value
    half = _integer_power(value, exponent // 2)
    square = call("mul", half, half)
    return call("mul", square, value) if exponent % 2 else square


@rule("BatchNormalization")
def _batch_normalisation(context: Context, node: Node) -> None:
    """Scale and shift each channel."""
    if node.integer("training_mode", 0) or any(context.is_needed(name) for name in node.outputs[1:]):
        raise unsupported(
            node, "it is in training mode (training_mode=1); export the model after model.eval()"
        )
    value = context.value(node.inputs[0])
    shape = (value.shape[1], *[1] * (len(value.shape) - 2))
    if not node.integer("spatial", 1):
        shape = value.shape[1:]
    epsilon = node.number("epsilon", 1e-5)
    names = node.inputs[1:5]
    if any(context.constant(name) is None for name in names):
        scale, bias, mean, variance = (context.reshape(context.value(name), shape) for name in names)
        factor = context.settled(call("div", scale, call("sqrt", call("add", variance, Number(epsilon)))), 8)
        centred = call("sub", value, context.broadcast(mean, value.shape))
        scaled = call("mul", centred, context.broadcast(factor, value.shape))
        context.define(node.outputs[0], call("add", scaled, context.broadcast(bias, value.shape)))
        return
    numbers = [context.known(node, place).astype(np.float64) for place in range(1, 5)]
    factors = numbers[0] / np.sqrt(numbers[3] + epsilon)
    shifts = numbers[1] - numbers[2] * factors
    slope, offset = (
        context.broadcast(context.constant_value(one.astype(np.float32).reshape(shape)), value.shape)
        for one in (factors, shifts)
    )
    context.define(node.outputs[0], call("add", call("mul", value, slope), offset))
