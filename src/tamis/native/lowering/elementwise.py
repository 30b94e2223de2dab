"""Operators that work element by element."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tamis.native.expression import Expression, Number, broadcast, call
from tamis.native.graph import Node
from tamis.native.lowering.context import Context, unsupported

Rule = Callable[[Context, Node], None]
RULES: dict[str, Rule] = {}

PLAIN = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Neg": "neg", "Abs": "abs", "Sqrt": "sqrt", "Exp": "exp",
    "Log": "log", "Tanh": "tanh", "Erf": "erf", "Sigmoid": "sigmoid", "Relu": "relu", "Floor": "floor", "Ceil": "ceil",
    "Reciprocal": "reciprocal", "Greater": "greater", "Less": "less", "Equal": "equal", "GreaterOrEqual": "greater_equal",
    "LessOrEqual": "less_equal", "And": "mul", "Not": "not", "Or": "max", "Where": "where", "Sin": "sin", "Cos": "cos",
    "Round": "round", "Sign": "sign", "Softplus": "softplus", "IsNaN": "isnan", "Tan": "tan", "Asin": "asin", "Acos": "acos",
    "Atan": "atan", "Sinh": "sinh", "Cosh": "cosh", "Asinh": "asinh", "Acosh": "acosh", "Atanh": "atanh",
}  # fmt: skip
SMALL_POWER = 16  # whole exponents up to this are multiplied out


def rule(*kinds: str) -> Callable[[Rule], Rule]:
    """Name the operators that a rule is for."""

    def note(one: Rule) -> Rule:
        for kind in kinds:
            RULES[kind] = one
        return one

    return note


def together(context: Context, *values: Expression) -> list[Expression]:
    """Broadcast values to one shape."""
    shape = broadcast([value.shape for value in values])
    return [context.broadcast(value, shape) for value in values]


def _inputs(context: Context, node: Node) -> list[Expression]:
    values = [context.value(name) for name in node.inputs]
    if node.has("axis") and node.integer("broadcast", 0) and len(values) == 2:
        # opset 6 and before: the second one begins at this axis of the first
        first, second = values
        axis = node.integer("axis") % max(1, len(first.shape))
        tail = len(first.shape) - axis - len(second.shape)
        values[1] = context.reshape(second, (*second.shape, *[1] * tail))
    return together(context, *values)


@rule(*PLAIN)
def plain(context: Context, node: Node) -> None:
    """Apply the function of the same meaning."""
    context.define(node.outputs[0], call(PLAIN[node.kind], *_inputs(context, node)))


@rule("Xor")
def exclusive_or(context: Context, node: Node) -> None:
    """Two truths differ: their difference is not zero."""
    one, other = _inputs(context, node)
    context.define(node.outputs[0], call("abs", call("sub", one, other)))


@rule("Div")
def divide(context: Context, node: Node) -> None:
    """Divide; whole numbers are cut off towards zero."""
    found = call("div", *_inputs(context, node))
    if context.dtype(node.outputs[0]).kind in "iu":
        found = call("trunc", found)
    context.define(node.outputs[0], found)


@rule("Mod")
def modulo(context: Context, node: Node) -> None:
    """Take the remainder, with the sign of the divisor, or with fmod=1 that of the dividend."""
    name = "fmod" if node.integer("fmod", 0) else "mod"
    context.define(node.outputs[0], call(name, *_inputs(context, node)))


@rule("Max", "Min", "Sum", "Mean")
def several(context: Context, node: Node) -> None:
    """Fold any number of inputs."""
    function = {"Max": "max", "Min": "min", "Sum": "add", "Mean": "add"}[node.kind]
    first, *others = together(context, *(context.value(name) for name in node.inputs))
    for other in others:
        first = call(function, context.settled(first), other)
    if node.kind == "Mean":
        first = call("mul", first, Number(1.0 / len(node.inputs)))
    context.define(node.outputs[0], first)


@rule("Cast", "CastLike")
def cast(context: Context, node: Node) -> None:
    """Keep numbers as they are, but cut off for whole ones: truths are 0 and 1 already."""
    source, target = context.dtype(node.inputs[0]), context.dtype(node.outputs[0])
    value = context.value(node.inputs[0])
    if target == np.bool_ and source != np.bool_:
        value = call("not", call("equal", value, Number(0.0)))
    elif target.kind in "iu" and source.kind == "f":
        value = call("trunc", value)
    context.define(node.outputs[0], value)


@rule("IsInf")
def is_infinite(context: Context, node: Node) -> None:
    """Tell where a value is infinite, of either sign or of one."""
    x = context.value(node.inputs[0])
    up, down = node.integer("detect_positive", 1), node.integer("detect_negative", 1)
    if up and down:
        found = call("equal", call("abs", x), Number(np.inf))
    elif up or down:
        found = call("equal", x, Number(np.inf if up else -np.inf))
    else:
        found = Number(0.0, x.shape)
    context.define(node.outputs[0], found)


@rule("Clip")
def clip(context: Context, node: Node) -> None:
    """Bound by numbers: attributes of old, inputs of late. What is no number stays that."""
    value = context.value(node.inputs[0])
    for place, (name, function) in enumerate((("min", "max"), ("max", "min")), start=1):
        if node.input(place):
            bound = context.broadcast(context.value(node.inputs[place]), value.shape)
            value = call(function, bound, value)
        elif node.has(name):
            value = call(function, Number(node.number(name)), value)
    context.define(node.outputs[0], value)


@rule("Pow")
def power(context: Context, node: Node) -> None:
    """Multiply where the exponent is a small whole number or a half."""
    value, exponent = context.value(node.inputs[0]), context.constant(node.inputs[1])
    shape = context.shape(node.outputs[0])
    number = float(exponent.ravel()[0]) if exponent is not None and exponent.size else np.nan
    same = exponent is not None and (exponent == number).all()
    if same and number == 0.5:
        value = call("sqrt", value)
    elif same and number == int(number) and 1 <= abs(number) <= SMALL_POWER:
        if abs(number) > 2:
            value = context.settled(value, int(abs(number)))
        value = _multiplied(value, int(abs(number)))
        value = call("reciprocal", value) if number < 0 else value
    else:
        value = call("pow", *together(context, value, context.value(node.inputs[1])))
    if context.dtype(node.outputs[0]).kind in "iu":
        value = call("trunc", value)
    context.define(node.outputs[0], context.broadcast(value, shape))


def _multiplied(value: Expression, times: int) -> Expression:
    if times == 1:
        return value
    half = _multiplied(value, times // 2)
    square = call("mul", half, half)
    return call("mul", square, value) if times % 2 else square


@rule("BatchNormalization")
def batch_normalisation(context: Context, node: Node) -> None:
    """Scale and shift channel by channel."""
    if node.integer("training_mode", 0) or any(context.is_needed(name) for name in node.outputs[1:]):
        raise unsupported(
            node, "it is in training mode (training_mode=1); export the model after model.eval()"
        )
    scale, bias, mean, variance = (context.known(node, place).astype(np.float64) for place in range(1, 5))
    factor = scale / np.sqrt(variance + node.number("epsilon", 1e-5))
    shift = bias - mean * factor
    value = context.value(node.inputs[0])
    shape = (-1, *[1] * (len(value.shape) - 2)) if node.integer("spatial", 1) else value.shape[1:]
    factors, shifts = (
        context.broadcast(context.hold(one.astype(np.float32).reshape(shape)), value.shape)
        for one in (factor, shift)
    )
    context.define(node.outputs[0], call("add", call("mul", value, factors), shifts))
