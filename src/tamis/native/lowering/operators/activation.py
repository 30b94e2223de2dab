"""Activation functions, in terms of simpler ones."""

from __future__ import annotations

from collections.abc import Callable

from tamis.native.expression import Expression, Number, call
from tamis.native.graph import Node
from tamis.native.lowering.context import Context
from tamis.native.lowering.operators.elementwise import broadcast_together
from tamis.native.lowering.rule import rule

Activation = Callable[[Node, Expression], Expression]


def by_sign(x: Expression, negative: Expression, positive: Expression) -> Expression:
    """Return one of two values, by the sign of x."""
    return call("where", call("less", x, Number(0.0)), negative, positive)


def expm1_below_zero(x: Expression) -> Expression:
    """Return exp(x) - 1 for x < 0, else 0: exp of a large x is not needed, and may be infinite."""
    return call("expm1", call("min", Number(0.0), x))


def scaled_by(x: Expression, factor: float) -> Expression:
    """Return a multiple of x."""
    return x if factor == 1.0 else call("mul", x, Number(factor))


def _leaky(node: Node, x: Expression) -> Expression:
    return by_sign(x, call("mul", x, Number(node.number("alpha", 0.01))), x)


def _elu(node: Node, x: Expression) -> Expression:
    return by_sign(x, scaled_by(expm1_below_zero(x), node.number("alpha", 1.0)), x)


def _selu(node: Node, x: Expression) -> Expression:
    below = scaled_by(expm1_below_zero(x), node.number("alpha", 1.67326319217681884765625))
    return scaled_by(by_sign(x, below, x), node.number("gamma", 1.05070102214813232421875))


def _celu(node: Node, x: Expression) -> Expression:
    alpha = node.number("alpha", 1.0)
    return by_sign(x, scaled_by(expm1_below_zero(scaled_by(x, 1.0 / alpha)), alpha), x)


def hard_sigmoid(x: Expression, alpha: float, beta: float) -> Expression:
    """Return a linear function of x, cut at 0 and 1."""
    linear = call("add", call("mul", x, Number(alpha)), Number(beta))
    return call("min", Number(1.0), call("max", Number(0.0), linear))


def _hard_sigmoid(node: Node, x: Expression) -> Expression:
    return hard_sigmoid(x, node.number("alpha", 0.2), node.number("beta", 0.5))


def _hard_swish(_: Node, x: Expression) -> Expression:
    return call("mul", x, hard_sigmoid(x, 1.0 / 6.0, 0.5))


def _softsign(_: Node, x: Expression) -> Expression:
    return call("div", x, call("add", call("abs", x), Number(1.0)))


def _mish(_: Node, x: Expression) -> Expression:
    return call("mul", x, call("tanh", call("softplus", x)))


def _swish(node: Node, x: Expression) -> Expression:
    return call("mul", x, call("sigmoid", scaled_by(x, node.number("alpha", 1.0))))


def _thresholded(node: Node, x: Expression) -> Expression:
    return call("where", call("greater", x, Number(node.number("alpha", 1.0))), x, Number(0.0))


def _shrink(node: Node, x: Expression) -> Expression:
    edge, bias = node.number("lambd", 0.5), node.number("bias", 0.0)
    above = call("where", call("greater", x, Number(edge)), call("sub", x, Number(bias)), Number(0.0))
    return call("where", call("less", x, Number(-edge)), call("add", x, Number(bias)), above)


def _gelu(node: Node, x: Expression) -> Expression:
    if node.text("approximate", "none") == "none":
        inner = call("erf", call("mul", x, Number(0.7071067811865476)))
    else:
        cube = call("mul", call("mul", call("mul", x, x), x), Number(0.044715))
        inner = call("tanh", call("mul", call("add", x, cube), Number(0.7978845608028654)))
    return call("mul", call("mul", x, Number(0.5)), call("add", inner, Number(1.0)))


ACTIVATION_FORMULAS: dict[str, Activation] = {
    "LeakyRelu": _leaky, "Elu": _elu, "Selu": _selu, "Celu": _celu, "HardSigmoid": _hard_sigmoid, "HardSwish": _hard_swish,
    "Softsign": _softsign, "Mish": _mish, "Swish": _swish, "ThresholdedRelu": _thresholded, "Shrink": _shrink, "Gelu": _gelu,
}  # fmt: skip


@rule(*ACTIVATION_FORMULAS, accepts={"approximate": ("none", "tanh")})
def _activation(context: Context, node: Node) -> None:
    x = context.settled(context.value(node.inputs[0]), 4)
    context.define(node.outputs[0], ACTIVATION_FORMULAS[node.kind](node, x))


@rule("PRelu")
def _prelu(context: Context, node: Node) -> None:
    x, slope = broadcast_together(context, *(context.value(name) for name in node.inputs))
    context.define(node.outputs[0], by_sign(x, call("mul", x, slope), x))
