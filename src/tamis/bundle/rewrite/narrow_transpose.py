"""Make a two-dimensional transposed convolution of a one-column image one-dimensional.

1. ConvTranspose(Unsqueeze(x, last axis), W[i, o, kh, kw], B), strides 1, no padding
   -> ConvTranspose(x, W'[i, o * kw, kh]), reshaped and transposed to (o, height, kw), + B

Runtimes pad the one column to the width of the kernel and multiply zeros: 16 ms of 21 were seen there.
The bias becomes an addition, so that the number of parameters stays what it was.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.bundle.rewrite.graph import (
    constant,
    fresh_name,
    integer,
    ints,
    only_consumer,
    rewrite_each,
    text,
)


def narrow_transpose(graph: ir.Graph) -> int:
    """Rewrite every such layer; return how many."""
    return rewrite_each(graph, {"ConvTranspose"}, _rewrite)


def _rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    image, weights = node.inputs[0], constant(node.inputs[1])
    column = image.producer() if image is not None else None
    if (
        weights is None
        or weights.ndim != 4
        or column is None
        or column.op_type != "Unsqueeze"
        or image is None
    ):
        return False
    axes = constant(column.inputs[1]) if len(column.inputs) > 1 else np.array(ints(column, "axes", []))
    if (
        axes is None
        or axes.tolist() not in ([3], [-1])
        or only_consumer(image) is not node
        or not _is_plain(node)
    ):
        return False
    channels_in, channels_out, height, width = weights.shape
    flat = np.ascontiguousarray(weights.transpose(0, 1, 3, 2)).reshape(
        channels_in, channels_out * width, height
    )
    weight_name = _rename(graph, node, 1, "weight")
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    bias_name = _rename(graph, node, 2, "bias") if bias is not None else ""
    kernel = _initializer(graph, weight_name, flat)
    line = ir.node(
        "ConvTranspose",
        [column.inputs[0], kernel],
        {"kernel_shape": [height], "strides": [1], "pads": [0, 0]},
    )
    apart = ir.node(
        "Reshape",
        [
            line.outputs[0],
            _initializer(graph, f"{weight_name}.shape", np.array([0, channels_out, width, -1])),
        ],
    )
    turned = ir.node("Transpose", [apart.outputs[0]], {"perm": [0, 1, 3, 2]})
    new = [line, apart, turned]
    if bias is not None:
        added = _initializer(graph, bias_name, bias.reshape(channels_out, 1, 1))
        new.append(ir.node("Add", [turned.outputs[0], added]))
    for index, made in enumerate(new):
        made.outputs[0].name = f"{node.outputs[0].name}/narrow_{index}"
    graph.insert_before(node, new)
    old, last = node.outputs[0], new[-1].outputs[0]
    name, last.type, last.shape = old.name, old.type, old.shape
    old.replace_all_uses_with(last, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    if last.is_graph_output():
        last.name = name
    return True


def _is_plain(node: ir.Node) -> bool:
    """Tell whether the layer has stride 1 and neither padding, dilation nor groups."""
    return (
        text(node, "auto_pad", "NOTSET") == "NOTSET"
        and "output_shape" not in node.attributes
        and not any(ints(node, "pads", [0]))
        and not any(ints(node, "output_padding", [0]))
        and all(n == 1 for n in (*ints(node, "strides", [1]), *ints(node, "dilations", [1])))
        and integer(node, "group", 1) == 1
    )


def _rename(graph: ir.Graph, node: ir.Node, position: int, fallback: str) -> str:
    """Detach a constant from the node and return the name that its successor may take."""
    value = node.inputs[position]
    name = value.name if value is not None and value.name else fallback
    alone = value is not None and len(value.uses()) == 1
    node.replace_input_with(position, None)
    if alone:
        graph.initializers.pop(name, None)
        return name
    return fresh_name(graph, name)


def _initializer(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    value = ir.Value(name=name, const_value=ir.tensor(np.ascontiguousarray(array), name=name))
    value.shape, value.dtype = ir.Shape(array.shape), ir.DataType.from_numpy(array.dtype)
    graph.register_initializer(value)
    return value
