"""Recurrent layers of the reference engine in plain numpy: the ONNX project's own know one direction."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


# name -> the function of x and its parameters, and the defaults of these: alpha, beta
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
    """Return the functions of every direction; each takes its parameters from the lists that all share."""
    names = options.get("activations") or list(default) * directions
    unknown = sorted({name for name in names if name.lower() not in ACTIVATIONS})
    if unknown:
        raise NotImplementedError(f"recurrent activation {unknown[0]!r}; known: {', '.join(ACTIVATIONS)}")
    given = [list(options.get(f"activation_{name}") or []) for name in ("alpha", "beta")]
    made = []
    for name in names:
        function, defaults = ACTIVATIONS[name.lower()]
        values = [left.pop(0) if left else value for value, left in zip(defaults, given, strict=False)]
        made.append(partial(_with, function, values) if values else function)
    step = len(default)
    return [made[i * step : (i + 1) * step] for i in range(directions)]


def _with(function: Callable[..., np.ndarray], values: list[float], x: np.ndarray) -> np.ndarray:
    return function(x, *values)


def _steps(direction: str, index: int, length: int) -> range:
    backward = direction == "reverse" or (direction == "bidirectional" and index == 1)
    return range(length - 1, -1, -1) if backward else range(length)


def _refuse_clip(options: dict[str, Any]) -> None:
    if options.get("clip"):
        raise NotImplementedError("recurrent layers with clip: leave clip out when the model is exported")


def _alive(lens: np.ndarray | None, t: int) -> np.ndarray | bool:
    """Tell which events still have a step t: beyond its end a sequence keeps its state and answers zero."""
    return True if lens is None else (np.asarray(lens) > t)[:, None]


class LSTM(OpRun):
    """The LSTM of ONNX: gates in the order input, output, forget, cell."""

    def _run(self, X, W, R, B=None, sequence_lens=None, initial_h=None, initial_c=None, P=None, **options):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN003, ANN202, N803
        x = X.transpose(1, 0, 2) if options.get("layout") else X
        length, batch, _ = x.shape
        directions, hidden = R.shape[0], R.shape[2]
        _refuse_clip(options)
        if options.get("input_forget"):
            raise NotImplementedError("LSTM with input_forget")
        functions = _activations(options, ("sigmoid", "tanh", "tanh"), directions)
        y = np.zeros((length, directions, batch, hidden), x.dtype)
        last_h = np.zeros((directions, batch, hidden), x.dtype)
        last_c = np.zeros_like(last_h)
        for d in range(directions):
            f, g, k = functions[d]
            bias = 0.0 if B is None else B[d, : 4 * hidden] + B[d, 4 * hidden :]
            pi, po, pf = np.split(P[d], 3) if P is not None else (0.0, 0.0, 0.0)
            h = np.zeros((batch, hidden), x.dtype) if initial_h is None else _initial(initial_h, d, options)
            c = np.zeros((batch, hidden), x.dtype) if initial_c is None else _initial(initial_c, d, options)
            for t in _steps(options.get("direction") or "forward", d, length):
                i, o, r, cell = np.split(x[t] @ W[d].T + h @ R[d].T + bias, 4, axis=1)
                c_next = f(r + pf * c) * c + f(i + pi * c) * g(cell)
                alive = _alive(sequence_lens, t)
                h, c = np.where(alive, f(o + po * c_next) * k(c_next), h), np.where(alive, c_next, c)
                y[t, d] = np.where(alive, h, 0.0)
            last_h[d], last_c[d] = h, c
        return _laid_out(y, options), *(_laid_out_state(s, options) for s in (last_h, last_c))


class GRU(OpRun):
    """The GRU of ONNX: gates in the order update, reset, hidden."""

    def _run(self, X, W, R, B=None, sequence_lens=None, initial_h=None, **options):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN003, ANN202, N803
        x = X.transpose(1, 0, 2) if options.get("layout") else X
        length, batch, _ = x.shape
        directions, hidden = R.shape[0], R.shape[2]
        _refuse_clip(options)
        functions = _activations(options, ("sigmoid", "tanh"), directions)
        y = np.zeros((length, directions, batch, hidden), x.dtype)
        last = np.zeros((directions, batch, hidden), x.dtype)
        for d in range(directions):
            f, g = functions[d]
            wb, rb = (np.zeros(3 * hidden),) * 2 if B is None else (B[d, : 3 * hidden], B[d, 3 * hidden :])
            h = np.zeros((batch, hidden), x.dtype) if initial_h is None else _initial(initial_h, d, options)
            for t in _steps(options.get("direction") or "forward", d, length):
                xz, xr, xh = np.split(x[t] @ W[d].T + wb, 3, axis=1)
                rz, rr, _ = np.split(h @ R[d].T + rb, 3, axis=1)
                z, r = f(xz + rz), f(xr + rr)
                hidden_weights, hidden_bias = R[d, 2 * hidden :], rb[2 * hidden :]
                if options.get("linear_before_reset"):
                    candidate = g(xh + r * (h @ hidden_weights.T + hidden_bias))
                else:
                    candidate = g(xh + (r * h) @ hidden_weights.T + hidden_bias)
                alive = _alive(sequence_lens, t)
                h = np.where(alive, (1 - z) * candidate + z * h, h)
                y[t, d] = np.where(alive, h, 0.0)
            last[d] = h
        return _laid_out(y, options), _laid_out_state(last, options)


class RNN(OpRun):
    """The plain recurrent layer of ONNX."""

    def _run(self, X, W, R, B=None, sequence_lens=None, initial_h=None, **options):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN003, ANN202, N803
        x = X.transpose(1, 0, 2) if options.get("layout") else X
        length, batch, _ = x.shape
        directions, hidden = R.shape[0], R.shape[2]
        _refuse_clip(options)
        functions = _activations(options, ("tanh",), directions)
        y = np.zeros((length, directions, batch, hidden), x.dtype)
        last = np.zeros((directions, batch, hidden), x.dtype)
        for d in range(directions):
            (f,) = functions[d]
            bias = 0.0 if B is None else B[d, :hidden] + B[d, hidden:]
            h = np.zeros((batch, hidden), x.dtype) if initial_h is None else _initial(initial_h, d, options)
            for t in _steps(options.get("direction") or "forward", d, length):
                alive = _alive(sequence_lens, t)
                h = np.where(alive, f(x[t] @ W[d].T + h @ R[d].T + bias), h)
                y[t, d] = np.where(alive, h, 0.0)
            last[d] = h
        return _laid_out(y, options), _laid_out_state(last, options)


def _initial(state: np.ndarray, direction: int, options: dict[str, Any]) -> np.ndarray:
    return state[:, direction] if options.get("layout") else state[direction]


def _laid_out(y: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    return y.transpose(2, 0, 1, 3) if options.get("layout") else y


def _laid_out_state(state: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    return state.transpose(1, 0, 2) if options.get("layout") else state
