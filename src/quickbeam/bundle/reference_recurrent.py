"""Recurrent layers of the reference engine in plain numpy: the ONNX project's own know one direction."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


ACTIVATIONS = {"sigmoid": _sigmoid, "tanh": np.tanh, "relu": lambda x: np.maximum(x, 0.0)}


def _activations(names: list[str] | None, default: tuple[str, ...], directions: int) -> list[list[Any]]:
    flat = [name.lower() for name in names] if names else list(default) * directions
    unknown = sorted(set(flat) - set(ACTIVATIONS))
    if unknown:
        raise NotImplementedError(f"recurrent activation {unknown[0]!r}; known: {', '.join(ACTIVATIONS)}")
    step = len(default)
    return [[ACTIVATIONS[name] for name in flat[i * step : (i + 1) * step]] for i in range(directions)]


def _steps(direction: str, index: int, length: int) -> range:
    backward = direction == "reverse" or (direction == "bidirectional" and index == 1)
    return range(length - 1, -1, -1) if backward else range(length)


def _refuse(clip: float | None, lens: np.ndarray | None, length: int) -> None:
    if clip:
        raise NotImplementedError("recurrent layers with clip")
    if lens is not None and np.any(np.asarray(lens) != length):
        raise NotImplementedError("recurrent layers with sequences of different lengths")


class LSTM(OpRun):
    """The LSTM of ONNX: gates in the order input, output, forget, cell."""

    def _run(self, X, W, R, B=None, sequence_lens=None, initial_h=None, initial_c=None, P=None, **options):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN003, ANN202, N803
        x = X.transpose(1, 0, 2) if options.get("layout") else X
        length, batch, _ = x.shape
        directions, hidden = R.shape[0], R.shape[2]
        _refuse(options.get("clip"), sequence_lens, length)
        if options.get("input_forget"):
            raise NotImplementedError("LSTM with input_forget")
        functions = _activations(options.get("activations"), ("sigmoid", "tanh", "tanh"), directions)
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
                h, c = f(o + po * c_next) * k(c_next), c_next
                y[t, d] = h
            last_h[d], last_c[d] = h, c
        return _laid_out(y, options), *(_laid_out_state(s, options) for s in (last_h, last_c))


class GRU(OpRun):
    """The GRU of ONNX: gates in the order update, reset, hidden."""

    def _run(self, X, W, R, B=None, sequence_lens=None, initial_h=None, **options):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN003, ANN202, N803
        x = X.transpose(1, 0, 2) if options.get("layout") else X
        length, batch, _ = x.shape
        directions, hidden = R.shape[0], R.shape[2]
        _refuse(options.get("clip"), sequence_lens, length)
        functions = _activations(options.get("activations"), ("sigmoid", "tanh"), directions)
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
                h = (1 - z) * candidate + z * h
                y[t, d] = h
            last[d] = h
        return _laid_out(y, options), _laid_out_state(last, options)


def _initial(state: np.ndarray, direction: int, options: dict[str, Any]) -> np.ndarray:
    return state[:, direction] if options.get("layout") else state[direction]


def _laid_out(y: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    return y.transpose(2, 0, 1, 3) if options.get("layout") else y


def _laid_out_state(state: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    return state.transpose(1, 0, 2) if options.get("layout") else state
