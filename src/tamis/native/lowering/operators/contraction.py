"""Dense layers, convolutions, and products of matrices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from tamis.native.expression import Expression, Load, Number, broadcast, call, cost
from tamis.native.graph import Node
from tamis.native.lowering.context import Context
from tamis.native.lowering.operators.movement import padded, put_padded
from tamis.native.lowering.operators.relations import related
from tamis.native.lowering.operators.unfolding import (
    convolve,
    convolve_transposed,
    depends_on_event,
    products,
    transposed_pads,
    window_pads,
)
from tamis.native.lowering.rule import rule
from tamis.native.program import Contract, Map, Product
from tamis.native.sizes import is_fixed, typical
from tamis.native.thresholds import (
    CHAINED_TERMS,
    COPIED_ROWS,
    FEW_OUTPUTS,
    INDEPENDENT_CHAINS,
    MANY_TERMS,
    MOST_CHAINS,
    PHASED_POSITIONS,
    PHASED_TAPS,
    VECTOR_OUTPUTS,
)
from tamis.native.view import View


def chains_for(outputs: int, terms: int) -> int:
    """Return the number of chains of a sum, so that a single event does not wait for the latency of each multiply-add."""
    if outputs <= FEW_OUTPUTS and terms >= MANY_TERMS:
        return VECTOR_OUTPUTS
    vectors = -(-outputs // VECTOR_OUTPUTS)
    chains = 1
    while chains < MOST_CHAINS and chains * vectors < INDEPENDENT_CHAINS and terms >= CHAINED_TERMS * chains:
        chains *= 2
    return chains


def dense(
    context: Context,
    x: View,
    weights: np.ndarray,
    bias: np.ndarray | None,
    out: View,
    start: View | None = None,
) -> None:
    """Write out[..., o] = bias[o] + sum over k of x[..., k] * weights[k, o]; all leading axes are positions."""
    terms, outputs = weights.shape
    rank = len(x.shape)
    order = (rank - 1, *range(rank - 1))
    flat = np.zeros(outputs, np.float32) if bias is None else np.broadcast_to(bias, (outputs,))
    context.add(
        Contract(
            x.permute(order).insert(0),
            1,
            np.ascontiguousarray(weights[None], np.float32),
            np.ascontiguousarray(flat[None], np.float32),
            out.permute(order).insert(0),
            start=None if start is None else start.permute(order).insert(0),
            chains=chains_for(outputs, terms),
        )
    )


@rule("Gemm", reads_buffers=True)
def _gemm(context: Context, node: Node) -> None:
    weights = context.constant(node.inputs[1])
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    transposed = [bool(node.integer(name, 0)) for name in ("transA", "transB")]
    shape = context.shape(node.outputs[0])
    has_bias = bool(node.input(2))
    bias = context.constant(node.inputs[2]) if has_bias else None
    if weights is None:
        left, right = context.view(node.inputs[0]), context.view(node.inputs[1])
        left = left.permute((1, 0)) if transposed[0] else left
        right = right.permute((1, 0)) if transposed[1] else right
        product = context.scratch(shape)
        context.add(Product(left.insert(0), right.insert(0), product.insert(0)))
        value = call("mul", Load(product), Number(alpha)) if alpha != 1.0 else Load(product)
        if has_bias:
            term = call("mul", context.value(node.inputs[2]), Number(beta))
            value = call("add", value, context.broadcast(term, shape))
        context.define(node.outputs[0], value)
        return
    x = context.view(node.inputs[0])
    x = x.permute((1, 0)) if transposed[0] else x
    weights = weights.T if transposed[1] else weights
    outputs = weights.shape[1]
    per_output = bias is not None and np.broadcast_shapes(bias.shape, (1, outputs)) == (1, outputs)
    out = context.scratch(shape)
    if per_output or not has_bias:
        flat = None if bias is None else np.broadcast_to(bias, (1, outputs))[0] * np.float32(beta)
        dense(context, x, weights * np.float32(alpha), flat, out)
        context.define(node.outputs[0], Load(out))
        return
    dense(context, x, weights * np.float32(alpha), None, out)
    term = call("mul", context.value(node.inputs[2]), Number(beta))
    context.define(node.outputs[0], call("add", Load(out), context.broadcast(term, shape)))


@rule("MatMul", reads_buffers=True)
def _matmul(context: Context, node: Node) -> None:
    shape = context.shape(node.outputs[0])
    left, right = (context.constant(name) for name in node.inputs)
    a, b = (context.shape(name) for name in node.inputs)
    relation = None
    if right is not None and right.ndim == 2 and left is None:
        relation = related(context, context.value(node.inputs[0]), len(a) - 1, right)
    elif left is not None and left.ndim == 2 and right is None and len(b) >= 2:
        relation = related(context, context.value(node.inputs[1]), len(b) - 2, left.T)
    if relation is not None:
        context.define(node.outputs[0], relation)
        return
    if right is not None and right.ndim == 2 and left is None:
        if len(a) == 1:
            out = context.scratch((1, *shape))
            dense(context, context.view(node.inputs[0]).insert(0), right, None, out)
            context.define(node.outputs[0], context.reshape(Load(out), shape))
            return
        out = context.scratch(shape)
        dense(context, context.view(node.inputs[0]), right, None, out)
        context.define(node.outputs[0], Load(out))
        return
    if left is not None and left.ndim == 2 and right is None and len(b) >= 2:
        # W @ x: the columns of x are positions
        out = context.scratch(shape)
        rank = len(b)
        swapped = (*range(rank - 2), rank - 1, rank - 2)
        dense(context, context.view(node.inputs[1]).permute(swapped), left.T, None, out.permute(swapped))
        context.define(node.outputs[0], Load(out))
        return
    one, other = context.view(node.inputs[0]), context.view(node.inputs[1])
    one = one.insert(0) if len(a) == 1 else one
    other = other.insert(1) if len(b) == 1 else other
    lead = broadcast([one.shape[:-2], other.shape[:-2]])
    if other.strides[-1] != 1 and typical(one.shape[-2]) >= COPIED_ROWS and typical(other.shape[-1]) > 1:
        other = context.write(Load(other), out=context.scratch(other.shape))  # vectors read its rows
    one, other = one.expand((*lead, *one.shape[-2:])), other.expand((*lead, *other.shape[-2:]))
    out = context.scratch((*lead, one.shape[-2], other.shape[-1]))
    products(context, one, other, out)
    context.define(node.outputs[0], context.reshape(Load(out), shape))


@rule("Conv")
def _conv(context: Context, node: Node) -> None:
    value = context.value(node.inputs[0])
    if depends_on_event(context, node, 1, 2):
        bias = context.value(node.inputs[2]) if node.input(2) else None
        result = convolve(context, node, value, context.value(node.inputs[1]), bias)
    else:
        weights, biases = context.known(node, 1), context.optional(node, 2)
        result = Load(convolution(context, node, value, weights, biases))
    context.define(node.outputs[0], result)


def convolution(
    context: Context, node: Node, value: Expression, weights: np.ndarray, bias: np.ndarray | None
) -> View:
    """Return a convolution with the attributes of a node."""
    shape, out_shape = value.shape, context.shape(node.outputs[0])
    spatial = len(shape) - 2
    kernel = weights.shape[2:]
    windows = Windows(
        kernel,
        node.integers("strides", (1,) * spatial),
        node.integers("dilations", (1,) * spatial),
        node.integer("group", 1),
    )
    before, after = window_pads(node, shape[2:], kernel, windows.stride, windows.dilation)
    out = context.scratch(out_shape, "conv")
    last = windows.stride[-1]
    if (
        last > 1
        and is_fixed(out_shape[-1])
        and out_shape[-1] >= PHASED_POSITIONS
        and kernel[-1] <= PHASED_TAPS
    ):
        x = in_phases(context, value, [0, 0, *before], [0, 0, *after], last)
        windows = replace(windows, phases=last)
    elif any(before) or any(after) or cost(value) or not isinstance(value, Load):
        x = padded(context, value, [0, 0, *before], [0, 0, *after])
    else:
        x = _contiguous(context, value, out_shape).view
    put_windows(context, x, weights, bias, out, windows)
    return out


def _contiguous(context: Context, value: Load, out_shape: tuple[int, ...]) -> Load:
    """Return the input contiguous along the last spatial axis that has several outputs: vectors are along it."""
    axis = next((a for a in reversed(range(2, len(out_shape))) if out_shape[a] != 1), len(out_shape) - 1)
    if value.view.strides[axis] == 1 or value.shape[axis] == 1:
        return value
    order = [a for a in range(len(value.shape)) if a != axis] + [axis]
    moved = context.permute(value, order)
    back = [order.index(a) for a in range(len(order))]
    out = context.scratch(moved.shape)
    context.add(Map(moved, out))
    return Load(out.permute(back))


@dataclass(frozen=True)
class Windows:
    """The windows of a convolution; with `phases` > 1 the last axis of the input is split into (index modulo phases, index // phases)."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    phases: int = 1


def in_phases(context: Context, value: Expression, before: list[int], after: list[int], stride: int) -> View:
    """Write a padded value with its last axis split by phase, so that elements a stride apart become contiguous."""
    size = value.shape[-1]
    width = -(-(before[-1] + size + after[-1]) // stride)
    inner = [b + n + a for b, n, a in zip(before[:-1], value.shape[:-1], after[:-1], strict=True)]
    out = context.scratch((*inner, stride, width), "phases")
    rank = len(inner)
    for phase in range(stride):
        first = -(-max(0, before[-1] - phase) // stride)  # the first index of this phase after the padding
        start = phase + first * stride - before[-1]
        count = len(range(start, size, stride))
        target = out.at(rank, phase)
        lower, upper = [*before[:-1], first], [*after[:-1], width - first - count]
        if count:
            piece = context.slice(value, rank, start, count, stride)
            put_padded(context, piece, lower, upper, target)
        else:
            context.add(Map(Number(0.0, target.shape), target))
    return out


def put_windows(
    context: Context, x: View, weights: np.ndarray, bias: np.ndarray | None, out: View, windows: Windows
) -> None:
    """Append the contractions of a convolution whose input is padded already, one per element of the batch."""
    kernel, groups = windows.kernel, windows.groups
    spatial = len(kernel)
    taps: tuple[int, ...] = ()
    for batch in range(out.shape[0]):
        source, to = x.at(0, batch), out.at(0, batch)
        channels, outputs = source.shape[0] // groups, to.shape[0] // groups
        grouped = source.reshape((groups, channels, *source.shape[1:])) if groups > 1 else source.insert(0)
        if grouped is None:
            copied = context.write(Load(source), out=context.scratch(source.shape))
            grouped = copied.reshape((groups, channels, *source.shape[1:]))
        target = to.reshape((groups, outputs, *to.shape[1:])) if groups > 1 else to.insert(0)
        assert grouped is not None and target is not None  # noqa: S101, PT018 - new buffers can be split
        if windows.phases > 1:
            place = len(grouped.shape) - 2
            pitch, step = grouped.strides[place], grouped.strides[place + 1]
            reach = [k * windows.dilation[-1] for k in range(kernel[-1])]
            taps = tuple(r % windows.phases * pitch + r // windows.phases * step for r in reach)
            grouped = grouped.at(place, 0)
        for axis in range(spatial):
            place, count = 2 + 2 * axis, to.shape[1 + axis]
            if windows.phases > 1 and axis == spatial - 1:
                grouped = grouped.slice(place, 0, count).insert(place + 1, kernel[axis])
            else:
                grouped = grouped.window(
                    place, kernel[axis], count, windows.stride[axis], windows.dilation[axis]
                )
        # from (groups, channels, out0, k0, out1, k1, ...) to kernel axes before positions
        kernels = [3 + 2 * axis for axis in range(spatial)]
        places = [2 + 2 * axis for axis in range(spatial)]
        grouped = grouped.permute((0, 1, *kernels, *places))
        packed = weights.reshape(groups, outputs, channels * prod(kernel)).transpose(0, 2, 1)
        flat = np.zeros(groups * outputs, np.float32) if bias is None else bias
        context.add(
            Contract(
                grouped,
                1 + spatial,
                np.ascontiguousarray(packed, np.float32),
                np.ascontiguousarray(flat.reshape(groups, outputs), np.float32),
                target,
                taps=taps,
            )
        )


@rule("ConvTranspose")
def _conv_transpose(context: Context, node: Node) -> None:
    """Write a transposed convolution as convolutions: one for each phase of the outputs modulo the stride."""
    if depends_on_event(context, node, 1, 2):
        convolve_transposed(context, node)
        return
    weights = context.known(node, 1)  # (inputs, outputs / groups, *kernel)
    bias = context.optional(node, 2)
    value, out_shape = context.value(node.inputs[0]), context.shape(node.outputs[0])
    spatial = len(value.shape) - 2
    kernel = weights.shape[2:]
    stride, dilation = node.integers("strides", (1,) * spatial), node.integers("dilations", (1,) * spatial)
    groups = node.integer("group", 1)
    begin = transposed_pads(node, value.shape[2:], out_shape[2:], kernel, stride, dilation)
    inputs = weights.shape[0] // groups
    outputs = weights.shape[1]
    swapped = weights.reshape(groups, inputs, outputs, *kernel).swapaxes(1, 2)
    swapped = swapped.reshape(groups * outputs, inputs, *kernel)
    out = context.scratch(out_shape, "conv")
    largest = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    view = padded(context, value, [0, 0, *largest], [0, 0, *largest])
    for phase in np.ndindex(*stride):
        _phase(context, view, swapped, bias, out, phase, begin, stride, dilation, groups, largest)
    context.define(node.outputs[0], Load(out))


def _phase(context: Context, x: View, weights: np.ndarray, bias: np.ndarray | None, out: View, phase: tuple[int, ...],
           begin: list[int], stride: tuple[int, ...], dilation: tuple[int, ...], groups: int, edge: list[int]) -> None:  # fmt: skip
    """Write the outputs of one phase: out[p] sums in[(p + begin - k * d) / s] over the k for which that is an integer."""
    selected, first, counts = weights, [], []
    for axis, (place, s, d) in enumerate(zip(phase, stride, dilation, strict=True)):
        size = weights.shape[2 + axis]
        taps = [k for k in range(size) if (place + begin[axis] - k * d) % s == 0]
        counts.append(len(range(place, out.shape[2 + axis], s)))
        if not counts[-1]:
            return
        out = out.slice(2 + axis, place, counts[-1], s)
        taps.reverse()  # so that the input is read in rising order
        selected = np.take(selected, taps, axis=2 + axis)
        offsets = [(place + begin[axis] - k * d) // s for k in taps]
        first.append(offsets)
    if any(not offsets for offsets in first):
        flat = np.zeros(weights.shape[0], np.float32) if bias is None else bias
        constant = context.constant_value(np.broadcast_to(flat.reshape(1, -1, *[1] * len(counts)), out.shape))
        context.add(Map(constant, out))
        return
    step = tuple(offsets[1] - offsets[0] if len(offsets) > 1 else 1 for offsets in first)
    for axis, offsets in enumerate(first):
        start = offsets[0] + edge[axis]
        reach = counts[axis] + (len(offsets) - 1) * step[axis]
        low, high = max(0, -start), max(0, start + reach - x.shape[2 + axis])
        if low or high:  # zeros beyond the ends of the axis
            before, after = [0] * len(x.shape), [0] * len(x.shape)
            before[2 + axis], after[2 + axis] = low, high
            x = padded(context, Load(x), before, after)
        x = x.slice(2 + axis, start + low, reach)
    windows = Windows(tuple(len(o) for o in first), (1,) * len(counts), step, groups)
    put_windows(context, x, selected, bias, out, windows)
