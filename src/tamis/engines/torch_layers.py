"""Layers with weights in torch: convolutions, pooling, normalisation, recurrence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

Fn = Callable[..., Any]


def _spatial_pads(
    node: Any, kernel: list[int], size: list[int], strides: list[int], dilations: list[int]
) -> list[int]:
    """Return begin and end pads, from the attribute or from auto_pad."""
    rank = len(kernel)
    auto = node.get("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        return list(node.get("pads") or [0] * 2 * rank)
    if auto == "VALID":
        return [0] * 2 * rank
    begin, end = [], []
    for k, n, s, d in zip(kernel, size, strides, dilations, strict=True):
        total = max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
        small = total // 2
        begin.append(total - small if auto == "SAME_LOWER" else small)
        end.append(small if auto == "SAME_LOWER" else total - small)
    return begin + end


def _padded(x: Any, pads: list[int], value: float = 0.0) -> tuple[Any, list[int]]:
    """Pad explicitly if the two sides differ; return the tensor and the pads left to the layer."""
    rank = len(pads) // 2
    if pads[:rank] == pads[rank:]:
        return x, pads[:rank]
    flat = [n for axis in reversed(range(rank)) for n in (pads[axis], pads[axis + rank])]
    return F.pad(x, flat, value=value), [0] * rank


def _conv(node: Any) -> Fn:
    group = node.get("group", 1)

    def run(x: Any, w: Any, b: Any = None) -> Any:
        kernel = list(w.shape[2:])
        ones = [1] * len(kernel)
        strides, dilations = list(node.get("strides") or ones), list(node.get("dilations") or ones)
        x, pads = _padded(x, _spatial_pads(node, kernel, list(x.shape[2:]), strides, dilations))
        function = (F.conv1d, F.conv2d, F.conv3d)[len(kernel) - 1]
        return function(x, w, b, strides, pads, dilations, group)

    return run


def _conv_transpose(node: Any) -> Fn:
    if node.get("auto_pad", "NOTSET") != "NOTSET" or node.get("output_shape"):
        raise node.unsupported("auto_pad or output_shape")
    group = node.get("group", 1)

    def run(x: Any, w: Any, b: Any = None) -> Any:
        rank = w.dim() - 2
        ones, pads = [1] * rank, list(node.get("pads") or [0] * 2 * rank)
        if pads[:rank] != pads[rank:]:
            raise node.unsupported("asymmetric pads")
        function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
        strides, extra = list(node.get("strides") or ones), list(node.get("output_padding") or [0] * rank)
        return function(x, w, b, strides, pads[:rank], extra, group, list(node.get("dilations") or ones))

    return run


def _pool(kind: str) -> Callable[[Any], Fn]:
    def translate(node: Any) -> Fn:
        kernel = list(node.get("kernel_shape"))
        rank = len(kernel)
        strides = list(node.get("strides") or [1] * rank)
        dilations = list(node.get("dilations") or [1] * rank)
        ceil, count = bool(node.get("ceil_mode", 0)), bool(node.get("count_include_pad", 0))
        if len(node.node.output) > 1:
            raise node.unsupported("indices")
        if kind == "average" and any(d != 1 for d in dilations):
            raise node.unsupported("dilations")

        def run(x: Any) -> Any:
            requested = _spatial_pads(node, kernel, list(x.shape[2:]), strides, dilations)
            if kind == "max":
                x, pads = _padded(x, requested, float("-inf"))
                function = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[rank - 1]
                return function(x, kernel, strides, pads, dilations, ceil)
            if requested[:rank] != requested[rank:] and not count:
                raise node.unsupported("asymmetric pads")
            x, pads = _padded(x, requested)
            average = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[rank - 1]
            return average(x, kernel, strides, pads, ceil, count)

        return run

    return translate


def _global_pool(function: Fn) -> Callable[[Any], Fn]:
    return lambda _node: lambda x: function(x, tuple(range(2, x.dim())), keepdim=True)


def _batch_norm(node: Any) -> Fn:
    if node.get("training_mode", 0):
        raise node.unsupported("training_mode")
    epsilon = node.get("epsilon", 1e-5)
    return lambda x, scale, bias, mean, var: F.batch_norm(x, mean, var, scale, bias, False, 0.0, epsilon)


def _layer_norm(node: Any) -> Fn:
    axis, epsilon = node.get("axis", -1), node.get("epsilon", 1e-5)
    if len(node.node.output) > 1:
        raise node.unsupported("the mean as an output")
    return lambda x, scale, bias=None: F.layer_norm(x, x.shape[axis:], scale, bias, epsilon)


def _instance_norm(node: Any) -> Fn:
    epsilon = node.get("epsilon", 1e-5)
    return lambda x, scale, bias: F.instance_norm(x, None, None, scale, bias, True, 0.0, epsilon)


def _recurrent(gates: list[int], cell: bool) -> Callable[[Any], Fn]:
    """Translate to torch.lstm or torch.gru, with the gates in torch's order instead of ONNX's."""

    def translate(node: Any) -> Fn:
        if node.get("activations") and [a.decode() for a in node.get("activations")][: 3 if cell else 2] != (
            ["Sigmoid", "Tanh", "Tanh"] if cell else ["Sigmoid", "Tanh"]
        ):
            raise node.unsupported("non-default activations")
        direction = node.get("direction", "forward")
        if node.has(4) or node.get("clip") or node.get("input_forget") or node.get("layout") or node.has(7):
            raise node.unsupported("sequence lengths, clip, peepholes or layout")
        if not cell and not node.get("linear_before_reset", 0):
            raise node.unsupported("linear_before_reset=0")

        def run(
            x: Any, w: Any, r: Any, b: Any = None, _lens: Any = None, h0: Any = None, c0: Any = None, *_: Any
        ) -> Any:
            directions, hidden = r.shape[0], r.shape[2]
            order = torch.cat([torch.arange(g * hidden, (g + 1) * hidden) for g in gates])
            weights = []
            for d in range(directions):
                weights += [w[d][order], r[d][order]]
                if b is not None:
                    weights += [b[d][: len(order)][order], b[d][len(order) :][order]]
            zero = torch.zeros(directions, x.shape[1], hidden, dtype=x.dtype)
            x = torch.flip(x, [0]) if direction == "reverse" else x
            state: Any = (
                (zero if h0 is None else h0, zero if c0 is None else c0)
                if cell
                else (zero if h0 is None else h0)
            )
            function: Any = torch.lstm if cell else torch.gru
            y, *last = function(x, state, weights, b is not None, 1, 0.0, False, directions == 2, False)
            y = torch.flip(y, [0]) if direction == "reverse" else y
            return (y.reshape(y.shape[0], y.shape[1], directions, hidden).transpose(1, 2), *last)

        return run

    return translate


LAYERS: dict[str, Callable[[Any], Fn]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MaxPool": _pool("max"),
    "AveragePool": _pool("average"),
    "GlobalAveragePool": _global_pool(torch.mean),
    "GlobalMaxPool": _global_pool(torch.amax),
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "InstanceNormalization": _instance_norm,
    "LSTM": _recurrent([0, 2, 3, 1], cell=True),
    "GRU": _recurrent([1, 0, 2], cell=False),
}
