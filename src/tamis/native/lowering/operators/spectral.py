"""Fourier transforms of a fixed length, as products with a matrix of sines and cosines."""

from __future__ import annotations

from math import prod

import numpy as np

from tamis.native.expression import Expression, Load, call
from tamis.native.graph import Node
from tamis.native.lowering.context import Context, unsupported
from tamis.native.lowering.operators.contraction import dense
from tamis.native.lowering.rule import rule
from tamis.native.sizes import integer

MOST_COEFFICIENTS = 2**22  # of the matrix of a transform


def _matrix(count: int, parts: int, length: int, *, inverse: bool, onesided: bool) -> np.ndarray:
    """Return the matrix (count, parts, results, result parts) of a transform of `count` numbers, or as many complex ones (parts = 2)."""
    is_real = inverse and onesided
    results = length if not onesided or inverse else length // 2 + 1
    angle = 2 * np.pi * (np.outer(np.arange(count), np.arange(results)) % length) / length
    cosine, sine = np.cos(angle), np.sin(angle) * (1 if inverse else -1)
    matrix = np.zeros((count, 2, results, 2))
    matrix[:, 0, :, 0], matrix[:, 0, :, 1] = cosine, sine
    matrix[:, 1, :, 0], matrix[:, 1, :, 1] = -sine, cosine
    if is_real:  # the other half of the spectrum is the conjugate
        single = {0, length // 2} if length % 2 == 0 else {0}
        weights = np.array([1.0 if number in single else 2.0 for number in range(count)])
        matrix = matrix[..., :1] * weights[:, None, None, None]
    return matrix[:, :parts] / (length if inverse else 1)


def _transformed(
    context: Context, node: Node, value: Expression, length: int, *, inverse: bool, onesided: bool
) -> Expression:
    """Transform the second to last axis; the last one has the real and the imaginary part."""
    most = length // 2 + 1 if inverse and onesided else length
    count, parts = min(value.shape[-2], most), value.shape[-1]
    value = context.slice(value, len(value.shape) - 2, 0, count)
    if count * parts * length * 2 > MOST_COEFFICIENTS:
        raise unsupported(node, f"its length of {length} is too large for a matrix of coefficients")
    matrix = _matrix(count, parts, length, inverse=inverse, onesided=onesided)
    results, result_parts = matrix.shape[2:]
    lead = value.shape[:-2]
    flat = context.reshape(value, (prod(lead), count * parts))
    out = context.scratch((prod(lead), results * result_parts))
    dense(context, context.write(flat), matrix.reshape(count * parts, -1), None, out)
    return context.reshape(Load(out), (*lead, results, result_parts))


@rule("DFT")
def _dft(context: Context, node: Node) -> None:
    """Transform one axis; its length may be cut, or filled with zeros."""
    value = context.value(node.inputs[0])
    rank = len(value.shape)
    axis = node.integer("axis", 1) if node.opset < 20 else -2
    if node.opset >= 20 and node.input(2):
        axis = int(context.known(node, 2).ravel()[0])
    axis %= rank
    inverse, onesided = bool(node.integer("inverse", 0)), bool(node.integer("onesided", 0))
    if inverse and not onesided:
        raise unsupported(
            node, "inverse transforms to complex numbers are not supported, only to real ones (onesided=1)"
        )
    length = 2 * (value.shape[axis] - 1) if inverse and onesided else value.shape[axis]
    if node.input(1):
        length = integer(context.known(node, 1).ravel()[0])
    order = (*(place for place in range(rank) if place not in (axis, rank - 1)), axis, rank - 1)
    result = _transformed(
        context, node, context.permute(value, order), length, inverse=inverse, onesided=onesided
    )
    back = [order.index(place) for place in range(rank)]
    context.define(node.outputs[0], context.permute(result, back))


@rule("STFT")
def _short_time(context: Context, node: Node) -> None:
    """Transform overlapping frames of a signal (batch, length, parts), multiplied by a window."""
    view = context.view(node.inputs[0])
    step = int(context.known(node, 1).ravel()[0])
    window = context.value(node.inputs[2]) if node.input(2) else None
    if node.input(3):
        length = int(context.known(node, 3).ravel()[0])
    else:
        length = view.shape[1] if window is None else window.shape[0]
    frames = context.shape(node.outputs[0])[1]
    value: Expression = Load(view.window(1, length, frames, step, 1))
    if window is not None:
        value = call("mul", value, context.broadcast(context.reshape(window, (length, 1)), value.shape))
    onesided = bool(node.integer("onesided", 1))
    result = _transformed(context, node, value, length, inverse=False, onesided=onesided)
    context.define(node.outputs[0], result)
