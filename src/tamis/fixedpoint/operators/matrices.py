"""Products with matrices, convolutions, pooling and reductions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tamis.fixedpoint.operators.operands import Inexact, Operands, finite, row
from tamis.fixedpoint.program import (
    Maximum,
    Multiply,
    Shape,
)


def _matmul(operands: Operands) -> list[int]:
    first, second = operands.values
    if first is not None and second is not None:
        raise Inexact("both matrices are computed")
    if second is None:
        matrix = operands.constant(1, "the matrix")
        if matrix.ndim != 2 or not operands.shape(operands.value(0)):
            raise Inexact(f"the matrix has the shape {matrix.shape}")
        return [operands.linear(operands.value(0), matrix)]
    matrix, value = operands.constant(0, "the matrix"), operands.value(1)
    if matrix.ndim != 2 or len(operands.shape(value)) < 2:
        raise Inexact(f"the matrix has the shape {matrix.shape}")
    turned = operands.take([value], np.swapaxes(operands.places(value), -1, -2))
    result = operands.linear(turned, matrix.T)
    return [operands.take([result], np.swapaxes(operands.places(result), -1, -2))]


def _gemm(operands: Operands) -> list[int]:
    attributes = operands.attributes
    if attributes.get("transA", 0):
        raise Inexact("it transposes the events")
    matrix = finite(operands.constant(1, "the matrix"))
    matrix = float(np.float32(attributes.get("alpha", 1.0))) * (
        matrix.T if attributes.get("transB", 0) else matrix
    )
    result = operands.linear(operands.value(0), matrix)
    if len(operands.constants) > 2 and operands.node.input[2]:
        bias = operands.constant(2, "the bias")
        bias = row(bias) if bias.ndim == 2 else bias
        result = operands.offset(result, float(np.float32(attributes.get("beta", 1.0))) * finite(bias))
    return [result]


def padding(
    attributes: Mapping[str, Any], sizes: Sequence[int], spans: Sequence[int], strides: Sequence[int]
) -> list[int]:
    """Return the elements that are added before every axis, and then those after every axis."""
    axes = len(sizes)
    automatic = attributes.get("auto_pad", b"NOTSET").decode()
    pads = list(attributes.get("pads", [0] * 2 * axes))
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        pads = [0] * 2 * axes
        for axis, (size, span, stride) in enumerate(zip(sizes, spans, strides, strict=True)):
            total = max((-(-size // stride) - 1) * stride + span - size, 0)
            smaller = total // 2
            begin = smaller if automatic == "SAME_UPPER" else total - smaller
            pads[axis], pads[axes + axis] = begin, total - begin
    return pads


def _windows(operands: Operands, kernel: Sequence[int]) -> np.ndarray:
    """Return the indices that every window reads: (channels, *positions, *kernel), -1 in the padding."""
    places = operands.places(operands.value(0))
    axes = len(kernel)
    strides = operands.attributes.get("strides", [1] * axes)
    dilations = operands.attributes.get("dilations", [1] * axes)
    spans = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, kernel, strict=True)]
    pads = padding(operands.attributes, places.shape[1:], spans, strides)
    if operands.attributes.get("ceil_mode", 0):
        raise Inexact("ceil_mode is not supported")
    widths = [(0, 0), *zip(pads[:axes], pads[axes:], strict=True)]
    padded = np.pad(places, widths, constant_values=-1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=tuple(range(1, axes + 1)))
    steps = tuple(slice(None, None, stride) for stride in strides)
    inside = tuple(slice(None, None, dilation) for dilation in dilations)
    return np.asarray(windows[(slice(None), *steps, *inside)])


def _conv(operands: Operands) -> list[int]:
    weights = finite(operands.constant(1, "the kernel"))
    outputs, per_group, *kernel = weights.shape
    groups = operands.attributes.get("group", 1)
    windows = _windows(operands, kernel)
    channels, *rest = windows.shape
    positions = rest[: len(kernel)]
    results = []
    for group in range(groups):
        part = windows[group * per_group : (group + 1) * per_group]
        part = np.moveaxis(part, 0, len(positions)).reshape(*positions, -1)
        matrix = weights[group * outputs // groups : (group + 1) * outputs // groups]
        results.append(
            operands.linear(operands.take([operands.value(0)], part), matrix.reshape(len(matrix), -1).T)
        )
    del channels
    # (groups, positions, outputs of a group) -> (outputs, positions)
    size = int(np.prod(positions)) * outputs // groups
    order = np.arange(groups * size).reshape(groups, *positions, outputs // groups)
    order = np.moveaxis(order, -1, 1).reshape(outputs, *positions)
    result = operands.take(results, order)
    if len(operands.constants) > 2 and operands.node.input[2]:
        bias = operands.constant(2, "the bias")
        result = operands.offset(result, bias.reshape(-1, *[1] * len(positions)))
    return [result]


def _average_pool(operands: Operands) -> list[int]:
    kernel = operands.attributes["kernel_shape"]
    windows = _windows(operands, kernel)
    windows = windows.reshape(*windows.shape[: -len(kernel)], -1)
    if (windows < 0).any() and not operands.attributes.get("count_include_pad", 0):
        raise Inexact("windows at the edge have fewer elements")
    return [_mean(operands, operands.take([operands.value()], windows))]


def _mean(operands: Operands, value: int) -> int:
    """Return the mean along the last axis."""
    count = operands.shape(value)[-1]
    if count & (count - 1):
        raise Inexact(f"it divides by {count}, not by a power of two")
    total = operands.linear(value, np.full((count, 1), 1 / count))
    return operands.take([total], operands.places(total)[..., 0])


def _largest(operands: Operands, windows: np.ndarray) -> int:
    """Return the largest element along the last axis of windows, where -1 is absent."""
    columns = [
        np.where(windows[..., i] < 0, windows.max(axis=-1), windows[..., i]) for i in range(windows.shape[-1])
    ]
    values = [operands.take([operands.value()], column) for column in columns]
    while len(values) > 1:  # a tree, which is not deep
        pairs = [operands.pair(Maximum, *values[i : i + 2]) for i in range(0, len(values) - 1, 2)]
        values = pairs + values[len(pairs) * 2 :]
    return values[0]


def _max_pool(operands: Operands) -> list[int]:
    if len(operands.node.output) > 1:
        raise Inexact("it returns indices")
    kernel = operands.attributes["kernel_shape"]
    windows = _windows(operands, kernel)
    return [_largest(operands, windows.reshape(*windows.shape[: -len(kernel)], -1))]


def _along(operands: Operands) -> tuple[np.ndarray, Shape]:
    """Return the indices with the reduced axes joined as the last one, and the shape of the result."""
    places = operands.places(operands.value())
    given = operands.attributes.get("axes")
    if given is None and len(operands.constants) > 1 and operands.node.input[1]:
        given = operands.constant(1, "the axes").tolist()
    rank = places.ndim + 1
    axes = sorted({axis % rank for axis in given} if given else range(rank))
    if 0 in axes:
        raise Inexact("it reduces the events")
    inner = [axis - 1 for axis in axes]
    kept = [axis for axis in range(places.ndim) if axis not in inner]
    keeps = operands.attributes.get("keepdims", 1)
    shape = [1 if axis in inner else size for axis, size in enumerate(places.shape) if keeps or axis in kept]
    ordered = places.transpose(*kept, *inner)
    return ordered.reshape(*(places.shape[axis] for axis in kept), -1), tuple(shape)


def _reduce(kind: str) -> Callable[[Operands], list[int]]:
    """Return the operator ReduceSum, ReduceMean, ReduceMax or ReduceSumSquare."""

    def operator(operands: Operands) -> list[int]:
        windows, shape = _along(operands)
        if kind == "max":
            result = _largest(operands, windows)
        else:
            value = operands.take([operands.value()], windows)
            if kind == "square":
                value = operands.pair(Multiply, value, value)
            if kind == "mean":
                result = _mean(operands, value)
            else:
                total = operands.linear(value, np.ones((windows.shape[-1], 1)))
                result = operands.take([total], operands.places(total)[..., 0])
        return [operands.take([result], operands.places(result).reshape(shape))]

    return operator


def _global_pool(kind: str) -> Callable[[Operands], list[int]]:
    """Return the operator GlobalAveragePool or GlobalMaxPool."""

    def operator(operands: Operands) -> list[int]:
        places = operands.places(operands.value())
        windows = places.reshape(len(places), -1)
        if kind == "max":
            result = _largest(operands, windows)
        else:
            result = _mean(operands, operands.take([operands.value()], windows))
        shape = (len(places), *[1] * (places.ndim - 1))
        return [operands.take([result], operands.places(result).reshape(shape))]

    return operator


MATRIX_OPERATORS: dict[str, Callable[[Operands], list[int]]] = {
    "AveragePool": _average_pool,
    "Conv": _conv,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool("mean"),
    "GlobalMaxPool": _global_pool("max"),
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "ReduceMax": _reduce("max"),
    "ReduceMean": _reduce("mean"),
    "ReduceSum": _reduce("sum"),
    "ReduceSumSquare": _reduce("square"),
}
