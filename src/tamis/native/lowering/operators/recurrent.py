"""Recurrent layers: a loop over time steps that updates the state in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tamis.native.expression import Expression, Load, Number, call
from tamis.native.graph import Node
from tamis.native.lowering.context import Context, unsupported
from tamis.native.lowering.operators.activation import by_sign, expm1_below_zero, hard_sigmoid, scaled_by
from tamis.native.lowering.operators.contraction import dense
from tamis.native.lowering.rule import rule
from tamis.native.program import Loop, Map, Statement
from tamis.native.view import View

Step = Callable[["_Layer", View], None]
DEFAULT_ACTIVATIONS = {"GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh"), "RNN": ("Tanh",)}
Gate = Callable[[Expression], Expression]


def _plain(function: str) -> Gate:
    return lambda x: call(function, x)


# by name: the function of x, alpha and beta, and the defaults of alpha and beta
GATE_FUNCTIONS: dict[str, tuple[Callable[..., Expression], tuple[float, ...]]] = {
    **{name: (_plain(name), ()) for name in ("sigmoid", "tanh", "relu", "softplus")},
    "softsign": (lambda x: call("div", x, call("add", call("abs", x), Number(1.0))), ()),
    "leakyrelu": (lambda x, a: by_sign(x, scaled_by(x, a), x), (0.01,)),
    "thresholdedrelu": (lambda x, a: call("where", call("greater", x, Number(a)), x, Number(0.0)), (1.0,)),
    "elu": (lambda x, a: by_sign(x, scaled_by(expm1_below_zero(x), a), x), (1.0,)),
    "hardsigmoid": (hard_sigmoid, (0.2, 0.5)),
    "scaledtanh": (lambda x, a, b: scaled_by(call("tanh", scaled_by(x, b)), a), (1.0, 1.0)),
    "affine": (lambda x, a, b: call("add", scaled_by(x, a), Number(b)), (1.0, 0.0)),
}


def gate_functions(node: Node, directions: int) -> list[Gate]:
    """Return the functions of all directions; those with parameters take them in turn from the lists of the node."""
    written = node.text("activations", "")
    names = written.split(",") if written else list(DEFAULT_ACTIVATIONS[node.kind]) * directions
    given = [node.attributes.get(f"activation_{name}", ()) for name in ("alpha", "beta")]
    lists = [list(one) if isinstance(one, tuple) else [] for one in given]
    found: list[Gate] = []
    for name in names:
        if name.lower() not in GATE_FUNCTIONS:
            raise unsupported(
                node, f"the activation {name!r} is not supported, only {', '.join(GATE_FUNCTIONS)}"
            )
        function, defaults = GATE_FUNCTIONS[name.lower()]
        values = [rest.pop(0) if rest else value for value, rest in zip(defaults, lists, strict=False)]
        found.append(_with_values(function, values))
    return found


def _with_values(function: Callable[..., Expression], values: Sequence[float]) -> Gate:
    return lambda x: function(x, *values)


class _Layer:
    """One direction of a recurrent layer while it is lowered."""

    def __init__(self, context: Context, node: Node, direction: int, hidden: int) -> None:
        self.context, self.node, self.hidden = context, node, hidden
        self.weights, self.recurrence = (context.known(node, place)[direction] for place in (1, 2))
        gates = self.weights.shape[0]
        bias = context.optional(node, 3)
        both = np.zeros(2 * gates, np.float32) if bias is None else bias[direction]
        self.bias, self.recurrent_bias = both[:gates], both[gates:]
        self.sequences = context.shape(node.inputs[0])[1]
        self.state = context.scratch((self.sequences, hidden), "h")
        self.cell = context.scratch((self.sequences, hidden), "c")
        count = len(DEFAULT_ACTIVATIONS[node.kind])
        directions = context.known(node, 1).shape[0]
        self.functions = gate_functions(node, directions)[direction * count : (direction + 1) * count]

    def begin(self, place: int, direction: int, out: View) -> None:
        """Set the state before the first step."""
        name = self.node.inputs[place] if place < len(self.node.inputs) else ""
        value: Expression = Number(0.0, out.shape)
        if name:
            value = self.context.at(self.context.value(name), 0, direction)
        self.context.add(Map(value, out))

    def inner(self, x: View, first: int, last: int, bias: np.ndarray) -> View:
        """Return the products of an input with rows `first` to `last` of the weights."""
        out = self.context.scratch((self.sequences, last - first), "x")
        dense(self.context, x, self.weights[first:last].T, bias, out)
        return out

    def outer(
        self, state: View, first: int, last: int, start: View | None, bias: np.ndarray | None = None
    ) -> View:
        """Return the products of a state with rows `first` to `last` of the recurrence weights, added to `start`."""
        out = self.context.scratch((self.sequences, last - first), "g")
        dense(self.context, state, self.recurrence[first:last].T, bias, out, start)
        return out

    def gate(self, gates: View, place: int) -> Expression:
        """Return gate number `place` of a buffer that holds all gates side by side."""
        return Load(gates.slice(1, place * self.hidden, self.hidden))


def _gru(layer: _Layer, x: View) -> None:
    """Write a step: z, r, n = gates; h = n + z (h - n)."""
    if layer.node.integer("linear_before_reset", 0):
        _gru_reset_late(layer, x)
        return
    size, context = layer.hidden, layer.context
    both = layer.bias[: 2 * size] + layer.recurrent_bias[: 2 * size]
    gates = layer.outer(layer.state, 0, 2 * size, layer.inner(x, 0, 2 * size, both))
    f, g = layer.functions
    bias = layer.bias[2 * size :] + layer.recurrent_bias[2 * size :]
    reset = context.scratch((layer.sequences, size))
    context.add(Map(call("mul", f(layer.gate(gates, 1)), Load(layer.state)), reset))
    new = g(Load(layer.outer(reset, 2 * size, 3 * size, layer.inner(x, 2 * size, 3 * size, bias))))
    _mix(layer, f(layer.gate(gates, 0)), new)


def _gru_reset_late(layer: _Layer, x: View) -> None:
    """Write a step with n = tanh(x + r (h W + b)): all of h W is one contraction, whose sums begin with x's part of z and r, and b."""
    size, context = layer.hidden, layer.context
    f, g = layer.functions
    weights, bias = layer.weights, layer.bias
    both = bias[: 2 * size] + layer.recurrent_bias[: 2 * size]
    rows = np.concatenate([weights[: 2 * size], np.zeros_like(weights[:size]), weights[2 * size :]])
    inner = context.scratch((layer.sequences, 4 * size), "x")
    dense(
        context, x, rows.T, np.concatenate([both, layer.recurrent_bias[2 * size :], bias[2 * size :]]), inner
    )
    gates = layer.outer(layer.state, 0, 3 * size, inner.slice(1, 0, 3 * size))
    reset = f(layer.gate(gates, 1))
    new = g(call("fma", reset, layer.gate(gates, 2), layer.gate(inner, 3)))
    _mix(layer, f(layer.gate(gates, 0)), new)


def _mix(layer: _Layer, update: Expression, new: Expression) -> None:
    """Write the new state: h = n + z (h - n)."""
    state = Load(layer.state)
    layer.context.add(Map(call("fma", update, call("sub", state, new), new), layer.state))


def _lstm(layer: _Layer, x: View) -> None:
    """Write a step: i, o, f, c = gates; cell = f cell + i c; h = o tanh(cell)."""
    size, context = layer.hidden, layer.context
    gates = layer.outer(
        layer.state, 0, 4 * size, layer.inner(x, 0, 4 * size, layer.bias + layer.recurrent_bias)
    )
    f, g, h = layer.functions
    taken = call("mul", f(layer.gate(gates, 0)), g(layer.gate(gates, 3)))
    context.add(Map(call("fma", f(layer.gate(gates, 2)), Load(layer.cell), taken), layer.cell))
    context.add(Map(call("mul", f(layer.gate(gates, 1)), h(Load(layer.cell))), layer.state))


def _rnn(layer: _Layer, x: View) -> None:
    """Write a step: h = f(x + h)."""
    size = layer.hidden
    gates = layer.outer(layer.state, 0, size, layer.inner(x, 0, size, layer.bias + layer.recurrent_bias))
    layer.context.add(Map(layer.functions[0](Load(gates)), layer.state))


STEPS: dict[str, Step] = {"GRU": _gru, "LSTM": _lstm, "RNN": _rnn}


@rule(*STEPS, accepts={"layout": (0,), "input_forget": (0,)}, reads_buffers=True)
def _recurrent(context: Context, node: Node) -> None:
    _refuse(context, node)
    hidden = node.integer("hidden_size")
    x = context.view(node.inputs[0])
    steps, sequences = x.shape[:2]
    direction = node.text("direction", "forward")
    directions = 2 if direction == "bidirectional" else 1
    names = [*node.outputs, "", "", ""][:3]
    states = context.scratch((steps, directions, sequences, hidden), "y") if names[0] else None
    layers = []
    for number in range(directions):
        layer = _Layer(context, node, number, hidden)
        layer.begin(5, number, layer.state)
        if node.kind == "LSTM":
            layer.begin(6, number, layer.cell)
        backward = direction == "reverse" or number == 1
        outer, context.program.statements = context.program.statements, []
        STEPS[node.kind](layer, x.turning(0, backward=backward))
        if states is not None:
            context.add(Map(Load(layer.state), states.at(1, number).turning(0, backward=backward)))
        body: tuple[Statement, ...] = tuple(context.program.statements)
        context.program.statements = outer
        context.add(Loop(steps, body))
        layers.append(layer)
    if states is not None:
        context.define(names[0], Load(states))
    for name, what in ((names[1], "state"), (names[2], "cell")):
        if name:
            last = context.scratch((directions, sequences, hidden))
            for number, layer in enumerate(layers):
                context.add(Map(Load(getattr(layer, what)), last.at(0, number)))
            context.define(name, Load(last))


def _refuse(context: Context, node: Node) -> None:
    if node.has("clip") and node.number("clip"):
        raise unsupported(node, f"clip={node.number('clip')} is not supported; export the model without clip")
    if node.input(7):
        raise unsupported(node, "peepholes are not supported")
    lengths = context.optional(node, 4)
    if lengths is not None and (lengths != context.shape(node.inputs[0])[0]).any():
        raise unsupported(node, "sequences shorter than its input (sequence_lens) are not supported")
