"""Replace a transposed convolution with stride 1 by a convolution, which every runtime computes faster.

1. ConvTranspose(x, W, B), strides 1, no output padding
   -> Conv(x, flip(W) with its channels exchanged, B), pads = dilation * (kernel - 1) - pads
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.bundle.rewrite.graph import constant, integer, ints, replace_constant, rewrite_each, text


def transpose_to_conv(graph: ir.Graph) -> int:
    """Rewrite every ConvTranspose with stride 1 and constant weights; return their number."""
    return rewrite_each(graph, {"ConvTranspose"}, _rewrite)


def _rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    weights = constant(node.inputs[1])
    if weights is None or text(node, "auto_pad", "NOTSET") != "NOTSET" or "output_shape" in node.attributes:
        return False
    rank = weights.ndim - 2
    if any(s != 1 for s in ints(node, "strides", [1] * rank)) or any(
        ints(node, "output_padding", [0] * rank)
    ):
        return False
    dilations = ints(node, "dilations", [1] * rank)
    pads = ints(node, "pads", [0] * 2 * rank)
    kernel = weights.shape[2:]
    reach = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
    new_pads = [r - p for r, p in zip(reach * 2, pads, strict=True)]
    if min(new_pads) < 0:
        return False
    group = integer(node, "group", 1)
    replace_constant(graph, node, 1, flip_kernel(weights, group), "weight")
    node.op_type = "Conv"
    for name in ("output_padding", "auto_pad"):
        node.attributes.pop(name, None)
    attributes = {
        "pads": new_pads,
        "kernel_shape": list(kernel),
        "dilations": dilations,
        "strides": [1] * rank,
    }
    for name, values in attributes.items():
        node.attributes[name] = ir.AttrInt64s(name, values)
    node.attributes["group"] = ir.AttrInt64("group", group)
    return True


def flip_kernel(weights: np.ndarray, group: int) -> np.ndarray:
    """Return weights with a flipped kernel and exchanged input and output channels within each group."""
    channels_in, per_group = weights.shape[:2]
    kernel = weights.shape[2:]
    parts = weights.reshape(group, channels_in // group, per_group, *kernel).swapaxes(1, 2)
    flipped = np.flip(parts, axis=tuple(range(3, parts.ndim)))
    return flipped.reshape(group * per_group, channels_in // group, *kernel)
