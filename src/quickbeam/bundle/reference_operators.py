"""Operators that the reference engine computes itself, in plain numpy.

The ONNX project's own LSTM and GRU know one direction, and its ConvTranspose takes seconds for a few events.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_average_pool import AveragePool_19 as _SlowAveragePool
from onnx.reference.ops.op_max_pool import MaxPool as _SlowMaxPool


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


class ConvTranspose(OpRun):
    """The transposed convolution of ONNX: every input element adds its multiple of the kernel to the output."""

    def _run(self, X, W, B=None, **options):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN003, ANN202, N803
        rank = X.ndim - 2
        if (options.get("auto_pad") or "NOTSET") != "NOTSET" or options.get("output_shape"):
            raise NotImplementedError("ConvTranspose with auto_pad or output_shape")
        strides, dilations = options.get("strides") or [1] * rank, options.get("dilations") or [1] * rank
        pads, extra = options.get("pads") or [0] * 2 * rank, options.get("output_padding") or [0] * rank
        group = options.get("group") or 1
        kernel, size = W.shape[2:], X.shape[2:]
        full = [
            (n - 1) * s + (k - 1) * d + 1 + e
            for n, s, k, d, e in zip(size, strides, kernel, dilations, extra, strict=True)
        ]
        x = X.reshape(X.shape[0], group, X.shape[1] // group, *size)
        w = W.reshape(group, W.shape[0] // group, *W.shape[1:])
        y = np.zeros((X.shape[0], group, W.shape[1], *full), X.dtype)
        for offset in np.ndindex(*kernel):
            part = np.einsum("bgi...,gio->bgo...", x, w[(slice(None), slice(None), slice(None), *offset)])
            at = [
                slice(o * d, o * d + (n - 1) * s + 1, s)
                for o, d, n, s in zip(offset, dilations, size, strides, strict=True)
            ]
            y[(slice(None), slice(None), slice(None), *at)] += part
        y = y.reshape(X.shape[0], -1, *full)
        inside = [slice(pads[i], full[i] - pads[i + rank]) for i in range(rank)]
        y = y[(slice(None), slice(None), *inside)]
        return (y if B is None else y + B.reshape(-1, *[1] * rank),)


def _windows(x: np.ndarray, options: dict[str, Any], value: float) -> np.ndarray | None:
    """Return every pooling window as trailing axes, or None beyond the plain case."""
    kernel = options["kernel_shape"]
    rank = len(kernel)
    if (options.get("auto_pad") or "NOTSET") not in ("NOTSET", "VALID") or options.get("ceil_mode"):
        return None
    if any(d != 1 for d in options.get("dilations") or []):
        return None
    pads, strides = options.get("pads") or [0] * 2 * rank, options.get("strides") or [1] * rank
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)], constant_values=value)
    view = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=tuple(range(2, 2 + rank)))
    return view[(slice(None), slice(None), *(slice(None, None, s) for s in strides))]


class MaxPool(_SlowMaxPool):
    """The maximum of every window; what the plain case does not cover goes to the ONNX project's own."""

    def _run(self, x, **options):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN003, ANN202
        windows = _windows(x, options, -np.inf) if len(self.output) == 1 else None
        if windows is None:
            return super()._run(x, **options)
        return (windows.max(axis=tuple(range(x.ndim, windows.ndim))),)


class AveragePool(_SlowAveragePool):
    """The mean of every window; what the plain case does not cover goes to the ONNX project's own."""

    def _run(self, x, **options):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN003, ANN202
        leaves_padding_out = any(options.get("pads") or []) and not options.get("count_include_pad")
        windows = None if leaves_padding_out else _windows(x, options, 0.0)
        if windows is None:
            return super()._run(x, **options)
        return (windows.mean(axis=tuple(range(x.ndim, windows.ndim))),)


OWN_OPERATORS = (LSTM, GRU, ConvTranspose, MaxPool, AveragePool)
