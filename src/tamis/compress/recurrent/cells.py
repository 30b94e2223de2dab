"""One step of a GRU and of an LSTM in plain operators, rounded wherever hardware has to store or look up a value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.compress.recurrent.points import CELL_BITS, ExpansionWriter, SharedPoint


@dataclass(frozen=True)
class CellWeights:
    """The weights of one direction as ONNX keeps them: gates one below the other."""

    inputs: np.ndarray  # (gates x hidden, features)
    states: np.ndarray  # (gates x hidden, hidden)
    input_bias: np.ndarray
    state_bias: np.ndarray


class RecurrentCell:
    """Writes the steps of one direction of a layer, which share their weights."""

    gates: int
    states: int = 1

    def __init__(self, writer: ExpansionWriter, layer: str, direction: str, weights: CellWeights) -> None:
        """`layer` names points, `direction` the weights in it."""
        self.writer, self.layer, self.hidden = writer, layer, weights.states.shape[1]
        self.place, self.weights = layer + direction, weights
        self._products: dict[str, tuple[str, str]] = {}
        self.define()

    def define(self) -> None:
        """Define the products of the layer."""
        raise NotImplementedError

    def step(self, x: str, states: list[str], prefix: str) -> list[str]:
        """Append a step and return its states."""
        raise NotImplementedError

    def begin(self, states: list[str]) -> list[str]:
        """Round the states before the first step as those after it."""
        return [self.rounded_state(state, place) for place, state in enumerate(states)]

    def rounded_state(self, value: str, place: int) -> str:
        """Round a state: of an LSTM, number 1 is the cell."""
        state, cell = self.point("state", most_reach=0), self.point("cell", more_bits=CELL_BITS)
        return self.writer.rounded(value, cell if place else state)

    def product(self, name: str, weight: np.ndarray, bias: np.ndarray) -> None:
        """Define the product with a matrix (outputs, inputs) that every step has."""
        base = f"{self.place}_{name}"
        self._products[name] = (
            self.writer.initializer(f"{base}/weight", weight.T.astype(np.float32)),
            self.writer.initializer(f"{base}/bias", bias.astype(np.float32)),
        )
        self.writer.layers[f"{base}/weight"] = base

    def multiplied(self, name: str, value: str, prefix: str) -> str:
        """Append a product with its bias."""
        weight, bias = self._products[name]
        product = self.writer.node("MatMul", [value, weight], f"{prefix}/{name}/product")
        return self.writer.node("Add", [product, bias], f"{prefix}/{name}")

    def gate(self, gates: str, number: int, output: str) -> str:
        """Return one of several gates that stand side by side."""
        return self.writer.slice(gates, number * self.hidden, (number + 1) * self.hidden, output)

    def point(self, name: str, **options: int) -> SharedPoint:
        """Return a point of the layer."""
        return SharedPoint(f"{self.layer}/{name}", **options)  # type: ignore[arg-type] # bits


class GruCell(RecurrentCell):
    """h = n + z (h - n) with the candidate n; the reset gate acts on the state before its product with weights."""

    gates = 3

    def define(self) -> None:
        """The candidate has its own product with the state."""
        size, one = 2 * self.hidden, self.weights
        both = one.input_bias + one.state_bias
        self.product("input", one.inputs, both)
        self.product("state", one.states[:size], np.zeros(size))
        self.product("reset", one.states[size:], np.zeros(self.hidden))

    def step(self, x: str, states: list[str], prefix: str) -> list[str]:
        """Append a step and return its state."""
        write, size, (h,) = self.writer, self.hidden, states
        from_x = self.multiplied("input", x, prefix)
        from_h = self.multiplied("state", h, prefix)
        gates = write.slice(from_x, 0, 2 * size, f"{prefix}/gates/x")
        z, r = self._gates(gates, from_h, prefix)
        reset = write.rounded(write.node("Mul", [r, h], f"{prefix}/reset_state"), self.point("reset_state"))
        candidate = self.gate(from_x, 2, f"{prefix}/candidate/x")
        return self._mixed(z, candidate, self.multiplied("reset", reset, prefix), h, prefix)

    def _gates(self, from_x: str, from_h: str, prefix: str) -> tuple[str, str]:
        write = self.writer
        total = write.node("Add", [from_x, from_h], f"{prefix}/gates")
        gates = write.table("Sigmoid", total, f"{self.layer}/gates", f"{prefix}/gates/sigmoid")
        return self.gate(gates, 0, f"{prefix}/z"), self.gate(gates, 1, f"{prefix}/r")

    def _mixed(self, z: str, from_x: str, from_h: str, h: str, prefix: str) -> list[str]:
        write = self.writer
        total = write.node("Add", [from_x, from_h], f"{prefix}/candidate")
        n = write.table("Tanh", total, f"{self.layer}/candidate", f"{prefix}/candidate/tanh")
        difference = write.node("Sub", [h, n], f"{prefix}/difference")
        kept = write.node("Mul", [z, difference], f"{prefix}/kept")
        new = write.node("Add", [n, kept], f"{prefix}/h")
        return [self.rounded_state(new, 0)]


class LateResetGruCell(GruCell):
    """A GRU whose reset gate acts on the product of the state with weights, as PyTorch's does (linear_before_reset)."""

    def define(self) -> None:
        """All gates share the product with the state."""
        size, one = 2 * self.hidden, self.weights
        gates = np.concatenate([one.input_bias[:size] + one.state_bias[:size], one.input_bias[size:]])
        self.product("input", one.inputs, gates)
        self.product("state", one.states, np.concatenate([np.zeros(size), one.state_bias[size:]]))

    def step(self, x: str, states: list[str], prefix: str) -> list[str]:
        """Append a step and return its state."""
        write, size, (h,) = self.writer, self.hidden, states
        from_x = self.multiplied("input", x, prefix)
        from_h = self.multiplied("state", h, prefix)
        parts = [
            write.slice(one, 0, 2 * size, f"{prefix}/gates/{name}")
            for one, name in ((from_x, "x"), (from_h, "h"))
        ]
        z, r = self._gates(parts[0], parts[1], prefix)
        late = self.gate(from_h, 2, f"{prefix}/candidate/h")
        rounded = write.rounded(late, self.point("candidate_state"))
        reset = write.node("Mul", [r, rounded], f"{prefix}/reset")
        return self._mixed(z, self.gate(from_x, 2, f"{prefix}/candidate/x"), reset, h, prefix)


class LstmCell(RecurrentCell):
    """c = f c + i g, h = o tanh(c)."""

    gates = 4
    states = 2

    def define(self) -> None:
        """All gates share one product with the input and one with the state."""
        one = self.weights
        self.product("input", one.inputs, one.input_bias + one.state_bias)
        self.product("state", one.states, np.zeros(4 * self.hidden))

    def step(self, x: str, states: list[str], prefix: str) -> list[str]:
        """Append a step and return its state and its cell."""
        write, size, (h, c) = self.writer, self.hidden, states
        total = write.node(
            "Add",
            [self.multiplied("input", x, prefix), self.multiplied("state", h, prefix)],
            f"{prefix}/total",
        )
        gates = write.slice(total, 0, 3 * size, f"{prefix}/gates")
        gates = write.table("Sigmoid", gates, f"{self.layer}/gates", f"{prefix}/gates/sigmoid")
        i, o, f = (self.gate(gates, number, f"{prefix}/{name}") for number, name in enumerate("iof"))
        candidate = self.gate(total, 3, f"{prefix}/candidate")
        g = write.table("Tanh", candidate, f"{self.layer}/candidate", f"{prefix}/candidate/tanh")
        kept = write.node("Mul", [f, c], f"{prefix}/kept")
        taken = write.node("Mul", [i, g], f"{prefix}/taken")
        new = write.node("Add", [kept, taken], f"{prefix}/c")
        cell = self.rounded_state(new, 1)
        seen = write.table("Tanh", cell, f"{self.layer}/seen_cell", f"{prefix}/cell/tanh")
        state = write.node("Mul", [o, seen], f"{prefix}/h")
        return [self.rounded_state(state, 0), cell]
