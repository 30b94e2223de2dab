"""Operators of the reference engine in plain NumPy, where the ONNX project's implementation is slow or incomplete.

Its ConvTranspose takes seconds for a few events, and its pooling is slow. Its Loop runs 0 times where the condition is omitted,
and concatenates what it has to stack.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_average_pool import AveragePool_19 as _SlowAveragePool
from onnx.reference.ops.op_loop import Loop as _LoopWithoutDefaults
from onnx.reference.ops.op_max_pool import MaxPool as _SlowMaxPool
from onnx.reference.ops.op_scatter_elements import ScatterElements as _ScatterElements

from tamis.bundle.reference_opsets import (
    BatchNormalization,
    DequantizeLinear,
    LogSoftmax,
    Resize,
    Softmax,
    Upsample,
)
from tamis.bundle.reference_recurrent import GRU, LSTM, RNN
from tamis.bundle.reference_trees import TreeEnsembleRegressor


class ConvTranspose(OpRun):
    """ONNX ConvTranspose: every input element adds a multiple of the kernel to the output."""

    def _run(self, X, W, B=None, **options):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN003, ANN202, N803
        rank = X.ndim - 2
        strides, dilations = options.get("strides") or [1] * rank, options.get("dilations") or [1] * rank
        extra = options.get("output_padding") or [0] * rank
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
            target = [
                slice(o * d, o * d + (n - 1) * s + 1, s)
                for o, d, n, s in zip(offset, dilations, size, strides, strict=True)
            ]
            y[(slice(None), slice(None), slice(None), *target)] += part
        y = y.reshape(X.shape[0], -1, *full)
        pads = _transpose_pads(options, full, [n * s for n, s in zip(size, strides, strict=True)])
        inside = [slice(pads[i], full[i] - pads[i + rank]) for i in range(rank)]
        y = y[(slice(None), slice(None), *inside)]
        return (y if B is None else y + B.reshape(-1, *[1] * rank),)


def _transpose_pads(options: dict[str, Any], full: list[int], same: list[int]) -> list[int]:
    """Return the begin and end pads that are cut off the output of a transposed convolution."""
    auto = options.get("auto_pad") or "NOTSET"
    requested = options.get("output_shape") or (same if auto.startswith("SAME") else None)
    if requested is None:
        return list(options.get("pads") or [0] * 2 * len(full))
    totals = [f - n for f, n in zip(full, requested[-len(full) :], strict=True)]
    if min(totals) < 0:
        raise NotImplementedError(
            f"ConvTranspose with output_shape {requested}, larger than the full output {full}"
        )
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return small + large if auto == "SAME_UPPER" else large + small


def _windows(x: np.ndarray, options: dict[str, Any], value: float) -> np.ndarray | None:
    """Return every pooling window as trailing axes; None with auto_pad, ceil_mode or dilations."""
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
    """The maximum of every window; falls back to the ONNX project's implementation for other options."""

    def _run(self, x, **options):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN003, ANN202
        windows = _windows(x, options, -np.inf) if len(self.output) == 1 else None
        if windows is None:
            return super()._run(x, **options)
        return (windows.max(axis=tuple(range(x.ndim, windows.ndim))),)


class AveragePool(_SlowAveragePool):
    """The mean of every window; falls back to the ONNX project's implementation for other options."""

    def _run(self, x, **options):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN003, ANN202
        excludes_padding = any(options.get("pads") or []) and not options.get("count_include_pad")
        windows = None if excludes_padding else _windows(x, options, 0.0)
        if windows is None:
            return super()._run(x, **options)
        return (windows.mean(axis=tuple(range(x.ndim, windows.ndim))),)


class GlobalMaxPool(OpRun):
    """The maximum over all spatial axes; the ONNX project's implementation always takes two axes."""

    def _run(self, x):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


class LoopWithDefaults(_LoopWithoutDefaults):
    """ONNX Loop: an omitted trip count means no limit, an omitted condition means true; scan outputs get a new first axis."""

    def _run(self, M, cond, *carried, context=None, attributes=None, **_):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN002, ANN003, ANN202, N803
        number, condition, *names = self.body.input_names
        inputs = {**(context or {}), **dict(zip(names, carried, strict=True))}
        going, step = cond is None or bool(cond), 0
        values = list(carried)
        scanned: list[list[Any]] = [[] for _ in range(len(self.body.output_names) - 1 - len(names))]
        while going and (M is None or step < int(M)):
            inputs |= {number: np.array(step, np.int64), condition: np.array(True)}
            go_on, *outputs = self._run_body(inputs, attributes=attributes)
            values = outputs[: len(names)]
            for rows, row in zip(scanned, outputs[len(names) :], strict=True):
                rows.append(row)
            inputs |= dict(zip(names, values, strict=True))
            going, step = bool(go_on), step + 1
        stacked = [np.stack(rows) if rows else np.zeros(0, np.float64) for rows in scanned]
        return self._check_and_fix_outputs((*values, *stacked))


LoopWithDefaults.__name__ = "Loop"  # the evaluator finds operators by the names of their classes


class GatherElements(OpRun):
    """ONNX GatherElements; the project's implementation fails for more than 64 elements."""

    def _run(self, data, indices, axis=0):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        index = [
            np.arange(size).reshape(-1, *[1] * (indices.ndim - 1 - place))
            for place, size in enumerate(indices.shape)
        ]
        index[axis or 0] = indices
        return (data[tuple(index)],)


class Scatter(_ScatterElements):
    """ONNX Scatter, the name of ScatterElements below opset 11."""

    def _run(self, data, indices, updates, axis=0):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        return super()._run(data, indices, updates, axis=axis or 0, reduction=None)


REFERENCE_OPERATORS = (
    GatherElements,
    Scatter,
    LoopWithDefaults,
    LSTM,
    GRU,
    RNN,
    ConvTranspose,
    MaxPool,
    AveragePool,
    GlobalMaxPool,
    BatchNormalization,
    DequantizeLinear,
    Softmax,
    LogSoftmax,
    Resize,
    Upsample,
    TreeEnsembleRegressor,
)
