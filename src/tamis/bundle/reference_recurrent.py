"""Recurrent layers of the reference engine in plain NumPy; the ONNX project's implementation supports one direction only."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np
from onnx.reference.op_run import OpRun


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


# name -> function of x, alpha and beta, and the defaults of alpha and beta
ACTIVATIONS: dict[str, tuple[Callable[..., np.ndarray], tuple[float, ...]]] = {
    "sigmoid": (_sigmoid, ()),
    "tanh": (np.tanh, ()),
    "relu": (lambda x: np.maximum(x, 0.0), ()),
    "softsign": (lambda x: x / (1.0 + np.abs(x)), ()),
    "softplus": (lambda x: np.logaddexp(x, 0.0), ()),
    "leakyrelu": (lambda x, a: np.where(x < 0, a * x, x), (0.01,)),
    "thresholdedrelu": (lambda x, a: np.where(x > a, x, 0.0), (1.0,)),
    "elu": (lambda x, a: np.where(x < 0, a * np.expm1(np.minimum(x, 0.0)), x), (1.0,)),
    "hardsigmoid": (lambda x, a, b: np.clip(a * x + b, 0.0, 1.0), (0.2, 0.5)),
    "scaledtanh": (lambda x, a, b: a * np.tanh(b * x), (1.0, 1.0)),
    "affine": (lambda x, a, b: a * x + b, (1.0, 0.0)),
}


def _activations(options: dict[str, Any], default: tuple[str, ...], directions: int) -> list[list[Any]]:
    """Return the functions of each direction; all take their parameters in turn from shared lists."""
    names = options.get("activations") or list(default) * directions
    unknown = sorted({name for name in names if name.lower() not in ACTIVATIONS})
    if unknown:
        raise NotImplementedError(f"recurrent activation {unknown[0]!r}; known: {', '.join(ACTIVATIONS)}")
    parameters = [list(options.get(f"activation_{name}") or []) for name in ("alpha", "beta")]
    functions: list[Callable[..., np.ndarray]] = []
    for name in names:
        function, defaults = ACTIVATIONS[name.lower()]
        values = [rest.pop(0) if rest else value for value, rest in zip(defaults, parameters, strict=False)]
        functions.append(partial(_call_with, function, values) if values else function)
    step = len(default)
    return [functions[i * step : (i + 1) * step] for i in range(directions)]


def _call_with(function: Callable[..., np.ndarray], values: list[float], x: np.ndarray) -> np.ndarray:
    return function(x, *values)


Step = Callable[..., tuple[np.ndarray, ...]]


class _Recurrent(OpRun):
    """Base of recurrent layers: directions, sequence lengths, layouts. A subclass implements its step."""

    functions: ClassVar[tuple[str, ...]]
    states: ClassVar[int] = 1

    def _step(
        self,
        w: np.ndarray,
        r: np.ndarray,
        biases: Any,
        peepholes: Any,
        functions: Any,
        options: dict[str, Any],
    ) -> Step:
        """Return a function of an input and the states that returns the next states of one direction."""
        raise NotImplementedError

    def _run(self, X, W, R, B=None, sequence_lens=None, initial_h=None, initial_c=None, P=None, **options):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN003, ANN202, N803
        x = X.transpose(1, 0, 2) if options.get("layout") else X
        length, batch, _ = x.shape
        directions, hidden = R.shape[0], R.shape[2]
        direction = options.get("direction") or "forward"
        if options.get("clip"):
            raise NotImplementedError("recurrent layers with clip: export the model without clip")
        functions = _activations(options, self.functions, directions)
        y = np.zeros((length, directions, batch, hidden), x.dtype)
        last = np.zeros((self.states, directions, batch, hidden), x.dtype)
        for d in range(directions):
            biases = np.split(np.zeros(2 * W.shape[1]) if B is None else B[d], 2)
            peepholes = None if P is None else P[d]
            step = self._step(W[d], R[d], biases, peepholes, functions[d], options)
            for state, initial in zip(last, (initial_h, initial_c), strict=False):
                if initial is not None:
                    state[d] = initial[:, d] if options.get("layout") else initial[d]
            backward = direction == "reverse" or (direction == "bidirectional" and d == 1)
            for t in range(length - 1, -1, -1) if backward else range(length):
                # after its end, a sequence keeps its state and returns zeros
                alive = True if sequence_lens is None else (np.asarray(sequence_lens) > t)[:, None]
                for state, following in zip(last, step(x[t], *last[:, d]), strict=True):
                    state[d] = np.where(alive, following, state[d])
                y[t, d] = np.where(alive, last[0, d], 0.0)
        if options.get("layout"):
            return y.transpose(2, 0, 1, 3), *(state.transpose(1, 0, 2) for state in last)
        return y, *last


class LSTM(_Recurrent):
    """ONNX LSTM: gates in the order input, output, forget, cell."""

    functions = ("sigmoid", "tanh", "tanh")
    states = 2

    def _step(
        self,
        w: np.ndarray,
        r: np.ndarray,
        biases: Any,
        peepholes: Any,
        functions: Any,
        options: dict[str, Any],
    ) -> Step:
        if options.get("input_forget"):
            raise NotImplementedError(
                "LSTM with input_forget: export the model with separate input and forget gates"
            )
        f, g, k = functions
        bias = sum(biases)
        pi, po, pf = (0.0, 0.0, 0.0) if peepholes is None else np.split(peepholes, 3)

        def step(x: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, ...]:
            input_gate, output_gate, forget_gate, cell = np.split(x @ w.T + h @ r.T + bias, 4, axis=1)
            c_next = f(forget_gate + pf * c) * c + f(input_gate + pi * c) * g(cell)
            return f(output_gate + po * c_next) * k(c_next), c_next

        return step


class GRU(_Recurrent):
    """ONNX GRU: gates in the order update, reset, hidden."""

    functions = ("sigmoid", "tanh")

    def _step(
        self,
        w: np.ndarray,
        r: np.ndarray,
        biases: Any,
        peepholes: Any,
        functions: Any,
        options: dict[str, Any],
    ) -> Step:
        del peepholes
        f, g = functions
        wb, rb = biases
        r_gates, r_hidden = np.split(r, [2 * r.shape[1]])
        rb_gates, rb_hidden = np.split(rb, [2 * r.shape[1]])

        def step(x: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, ...]:
            x_update, x_reset, x_hidden = np.split(x @ w.T + wb, 3, axis=1)
            h_update, h_reset = np.split(h @ r_gates.T + rb_gates, 2, axis=1)
            update, reset = f(x_update + h_update), f(x_reset + h_reset)
            if options.get("linear_before_reset"):
                candidate = g(x_hidden + reset * (h @ r_hidden.T + rb_hidden))
            else:
                candidate = g(x_hidden + (reset * h) @ r_hidden.T + rb_hidden)
            return ((1 - update) * candidate + update * h,)

        return step


class RNN(_Recurrent):
    """ONNX RNN, the plain recurrent layer."""

    functions = ("tanh",)

    def _step(
        self,
        w: np.ndarray,
        r: np.ndarray,
        biases: Any,
        peepholes: Any,
        functions: Any,
        options: dict[str, Any],
    ) -> Step:
        del peepholes, options
        (f,) = functions
        bias = sum(biases)
        return lambda x, h: (f(x @ w.T + h @ r.T + bias),)
