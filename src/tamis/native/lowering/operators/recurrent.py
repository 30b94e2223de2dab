"""Recurrent layers: a loop over time steps that updates the state in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tamis.native.expression import Expression, Load, Number, call
from tamis.native.graph import Node
from tamis.native.lowering.context import Context, unsupported
from tamis.native.lowering.operators.activation import by_sign, expm1_below_zero, hard_sigmoid, scaled_by
from tamis.native.lowering.operators.contraction import dense
from tamis.native.lowering.operators.unfolding import depends_on_event
from tamis.native.lowering.rule import rule
from tamis.native.program import Loop, Map, Product, Statement
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

    def __init__(self, context: Context, node: Node, direction: int, x: View, hidden: int) -> None:
        self.context, self.node, self.hidden = context, node, hidden
        self.gates = context.shape(node.inputs[1])[1]
        self.read_weights(direction)
        self.steps, self.sequences = x.shape[:2]
        self.state = context.scratch((self.sequences, hidden), "h")
        self.cell = context.scratch((self.sequences, hidden), "c")
        count = len(DEFAULT_ACTIVATIONS[node.kind])
        directions = context.shape(node.inputs[1])[0]
        self.functions = gate_functions(node, directions)[direction * count : (direction + 1) * count]
        self.alive: Expression | None = None  # whether the sequences go on in this step, None where all do
        self.peepholes: list[Expression] = []
        if node.input(7):
            every = context.at(context.value(node.inputs[7]), 0, direction)
            self.peepholes = [context.slice(every, 0, part * hidden, hidden) for part in range(3)]

    def read_weights(self, direction: int) -> None:
        """Take the weights and biases of this direction."""
        context, node = self.context, self.node
        self.weights, self.recurrence = (context.known(node, place)[direction] for place in (1, 2))
        bias = context.optional(node, 3)
        both = np.zeros(2 * self.gates, np.float32) if bias is None else bias[direction]
        self.bias, self.recurrent_bias = both[: self.gates], both[self.gates :]

    def begin(self, place: int, direction: int, out: View) -> None:
        """Set the state before the first step."""
        name = self.node.inputs[place] if place < len(self.node.inputs) else ""
        value: Expression = Number(0.0, out.shape)
        if name:
            axis = 1 if self.node.integer("layout", 0) else 0
            value = self.context.at(self.context.value(name), axis, direction)
        self.context.add(Map(value, out))

    def inner(self, x: View, first: int, last: int) -> View:
        """Return the products of an input with rows `first` to `last` of the weights, plus both biases."""
        out = self.context.scratch((self.sequences, last - first), "x")
        bias = self.bias[first:last] + self.recurrent_bias[first:last]
        dense(self.context, x, self.weights[first:last].T, bias, out)
        return out

    def outer(self, state: View, first: int, last: int, start: View) -> View:
        """Return the products of a state with rows `first` to `last` of the recurrence weights, added to `start`."""
        out = self.context.scratch((self.sequences, last - first), "g")
        dense(self.context, state, self.recurrence[first:last].T, None, out, start)
        return out

    def reset_late(self, x: View, reset: Gate) -> tuple[Expression, Expression]:
        """Return the update gate before its function, and x + r (h W + b): all of h W is one contraction.

        Its sums begin with x's part of z and r, and b.
        """
        size, weights, bias = self.hidden, self.weights, self.bias
        both = bias[: 2 * size] + self.recurrent_bias[: 2 * size]
        rows = np.concatenate([weights[: 2 * size], np.zeros_like(weights[:size]), weights[2 * size :]])
        inner = self.context.scratch((self.sequences, 4 * size), "x")
        biases = np.concatenate([both, self.recurrent_bias[2 * size :], bias[2 * size :]])
        dense(self.context, x, rows.T, biases, inner)
        gates = self.outer(self.state, 0, 3 * size, inner.slice(1, 0, 3 * size))
        new = call("fma", reset(self.gate(gates, 1)), self.gate(gates, 2), self.gate(inner, 3))
        return self.gate(gates, 0), new

    def gate(self, gates: View, place: int) -> Expression:
        """Return gate number `place` of a buffer that holds all gates side by side."""
        return Load(gates.slice(1, place * self.hidden, self.hidden))

    def peephole(self, place: int, gate: Expression) -> Expression:
        """Return a gate plus its multiple of the cell, where the layer has peepholes."""
        return call("fma", self.peepholes[place], Load(self.cell), gate) if self.peepholes else gate

    def update(self, state: View, value: Expression) -> None:
        """Write a new state; a sequence that has ended keeps its state."""
        if self.alive is not None:
            value = call("where", self.alive, value, Load(state))
        self.context.add(Map(value, state))


class _EventLayer(_Layer):
    """A layer whose weights depend on the event."""

    def read_weights(self, direction: int) -> None:
        """Take the weights and biases of this direction."""
        context, node = self.context, self.node
        self.matrices = [context.view(node.inputs[place]).at(0, direction) for place in (1, 2)]
        bias: Expression = Number(0.0, (2 * self.gates,))
        if node.input(3):
            bias = context.at(context.value(node.inputs[3]), 0, direction)
        self.both = [context.slice(bias, 0, part * self.gates, self.gates) for part in range(2)]

    def inner(self, x: View, first: int, last: int) -> View:
        """Return the products of an input with rows `first` to `last` of the weights, plus both biases."""
        bias = call("add", *(self.context.slice(one, 0, first, last - first) for one in self.both))
        return self._product(x, 0, first, last, bias)

    def outer(self, state: View, first: int, last: int, start: View) -> View:
        """Return the products of a state with rows `first` to `last` of the recurrence weights, added to `start`."""
        return self._product(state, 1, first, last, Load(start))

    def reset_late(self, x: View, reset: Gate) -> tuple[Expression, Expression]:
        """Return the update gate before its function, and x + r (h W + b)."""
        size = self.hidden
        gates = self.outer(self.state, 0, 2 * size, self.inner(x, 0, 2 * size))
        bias, recurrent_bias = (self.context.slice(one, 0, 2 * size, size) for one in self.both)
        late = self._product(self.state, 1, 2 * size, 3 * size, recurrent_bias)
        new = self._product(x, 0, 2 * size, 3 * size, bias)
        return self.gate(gates, 0), call("fma", reset(self.gate(gates, 1)), Load(late), Load(new))

    def _product(self, x: View, place: int, first: int, last: int, added: Expression) -> View:
        rows = self.matrices[place].slice(0, first, last - first).permute((1, 0))
        product = self.context.scratch((self.sequences, last - first), "x")
        self.context.add(Product(x.insert(0), rows.insert(0), product.insert(0)))
        return self.context.write(call("add", Load(product), added))


def _gru(layer: _Layer, x: View) -> None:
    """Write a step: z, r, n = gates; h = n + z (h - n)."""
    size, context = layer.hidden, layer.context
    f, g = layer.functions
    if layer.node.integer("linear_before_reset", 0):
        update, new = layer.reset_late(x, f)
        _mix(layer, f(update), g(new))
        return
    gates = layer.outer(layer.state, 0, 2 * size, layer.inner(x, 0, 2 * size))
    reset = context.scratch((layer.sequences, size))
    context.add(Map(call("mul", f(layer.gate(gates, 1)), Load(layer.state)), reset))
    new = g(Load(layer.outer(reset, 2 * size, 3 * size, layer.inner(x, 2 * size, 3 * size))))
    _mix(layer, f(layer.gate(gates, 0)), new)


def _mix(layer: _Layer, update: Expression, new: Expression) -> None:
    """Write the new state: h = n + z (h - n)."""
    layer.update(layer.state, call("fma", update, call("sub", Load(layer.state), new), new))


def _lstm(layer: _Layer, x: View) -> None:
    """Write a step: i, o, f, c = gates; cell = f cell + i c; h = o tanh(cell)."""
    size = layer.hidden
    gates = layer.outer(layer.state, 0, 4 * size, layer.inner(x, 0, 4 * size))
    f, g, h = layer.functions
    entrance, exit_, forget = (layer.gate(gates, place) for place in range(3))
    taken = call("mul", f(layer.peephole(0, entrance)), g(layer.gate(gates, 3)))
    layer.update(layer.cell, call("fma", f(layer.peephole(2, forget)), Load(layer.cell), taken))
    layer.update(layer.state, call("mul", f(layer.peephole(1, exit_)), h(Load(layer.cell))))


def _rnn(layer: _Layer, x: View) -> None:
    """Write a step: h = f(x + h)."""
    size = layer.hidden
    gates = layer.outer(layer.state, 0, size, layer.inner(x, 0, size))
    layer.update(layer.state, layer.functions[0](Load(gates)))


STEPS: dict[str, Step] = {"GRU": _gru, "LSTM": _lstm, "RNN": _rnn}


@rule(*STEPS, accepts={"layout": (0, 1), "input_forget": (0,)}, reads_buffers=True)
def _recurrent(context: Context, node: Node) -> None:
    if node.has("clip") and node.number("clip"):
        raise unsupported(node, f"clip={node.number('clip')} is not supported; export the model without clip")
    hidden, batch_first = node.integer("hidden_size"), bool(node.integer("layout", 0))
    x = context.view(node.inputs[0])
    x = x.permute((1, 0, 2)) if batch_first else x
    steps, sequences = x.shape[:2]
    direction = node.text("direction", "forward")
    directions = 2 if direction == "bidirectional" else 1
    names = [*node.outputs, "", "", ""][:3]
    states = context.scratch((steps, directions, sequences, hidden), "y") if names[0] else None
    kind = _EventLayer if depends_on_event(context, node, 1, 2, 3) else _Layer
    alive = _alive(context, node, steps, (sequences, hidden))
    layers = []
    for number in range(directions):
        layer = kind(context, node, number, x, hidden)
        layer.begin(5, number, layer.state)
        if node.kind == "LSTM":
            layer.begin(6, number, layer.cell)
        backward = direction == "reverse" or number == 1
        outer, context.program.statements = context.program.statements, []
        if alive is not None:
            layer.alive = Load(alive.turning(0, backward=backward))
        STEPS[node.kind](layer, x.turning(0, backward=backward))
        if states is not None:
            state: Expression = Load(layer.state)
            if layer.alive is not None:
                state = call("where", layer.alive, state, Number(0.0))
            context.add(Map(state, states.at(1, number).turning(0, backward=backward)))
        body: tuple[Statement, ...] = tuple(context.program.statements)
        context.program.statements = outer
        context.add(Loop(steps, body))
        layers.append(layer)
    if states is not None:
        order = (2, 0, 1, 3) if batch_first else (0, 1, 2, 3)
        context.define(names[0], Load(states.permute(order)))
    for name, what in ((names[1], "state"), (names[2], "cell")):
        if name:
            last = context.scratch((directions, sequences, hidden))
            for number, layer in enumerate(layers):
                context.add(Map(Load(getattr(layer, what)), last.at(0, number)))
            context.define(name, Load(last.permute((1, 0, 2)) if batch_first else last))


def _alive(context: Context, node: Node, steps: int, shape: tuple[int, int]) -> View | None:
    """Return whether each sequence goes on in each step, (steps, *shape); None if all have the length of the input."""
    lengths = context.optional(node, 4)
    if lengths is None or (lengths == steps).all():
        return None
    mask = np.arange(steps)[:, None] < lengths
    if mask.all() or not mask.any():
        raise unsupported(node, f"its sequences have {lengths.tolist()} of {steps} steps; fix sequence_lens")
    return context.write(context.constant_value(mask[..., None])).expand((steps, *shape))
