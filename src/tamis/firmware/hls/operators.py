"""Operators that are layers of hls4ml: products with weights, pooling, and what moves elements. Images have their channels last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import helper

from tamis.firmware.hls.chains import HlsChain, Inexpressible
from tamis.firmware.hls.layers import HlsTensor
from tamis.firmware.hls.planner import ChainStart, Planner, WeightedLayer, plain
from tamis.fixedpoint import FixedFormat, TranslatedNode
from tamis.fixedpoint.operators.matrices import padding
from tamis.fixedpoint.program import Linear, Offset

SIDES = {1: (("left", "right"),), 2: (("top", "bottom"), ("left", "right"))}
SIZES = {1: ("width",), 2: ("height", "width")}


def _result(planner: Planner, node: TranslatedNode) -> int:
    """Return the value that a node makes before its bias is added."""
    last = planner.program.steps[node.steps[-1]]
    return last.inputs[0] if isinstance(last, Offset) else planner.count + node.steps[-1]


def _attributes(node: TranslatedNode) -> dict[str, Any]:
    return {one.name: helper.get_attribute_value(one) for one in node.node.attribute}


def _value(node: TranslatedNode) -> int:
    value = node.values[0]
    if value is None:
        raise Inexpressible("its first input is constant")
    return value


def _channels_last(planner: Planner, value: int) -> HlsTensor:
    tensor = planner.place(value)
    rank = len(tensor.shape)
    if rank not in (2, 3):
        raise Inexpressible(f"it has {rank - 1} axes besides the channels, and hls4ml takes one or two")
    return planner.reordered(tensor, (*range(1, rank), 0))


def _pending(planner: Planner, value: int, layer: WeightedLayer) -> int:
    planner.states[value] = ChainStart(value, weighted=layer), HlsChain.empty(planner.program.shape(value))
    return value


def _dense(planner: Planner, node: TranslatedNode) -> int:
    """A product with a matrix; of several rows, it is a convolution of width one."""
    value = _value(node)
    steps = [planner.program.steps[index] for index in node.steps]
    if not isinstance(steps[0], Linear):
        raise Inexpressible("its constant is the first factor")
    matrix, result = steps[0].matrix, planner.count + node.steps[0]
    tensor, shape = planner.natural(value), planner.program.shape(result)
    ranges = planner.ranges[value]
    rank = len(tensor.shape)
    axes = tuple(range(rank - 1))
    largest = np.maximum(np.abs(ranges.low), np.abs(ranges.high)).max(axis=axes)
    fractions = ranges.fraction.max(axis=axes)
    inputs, outputs = matrix.shape
    order = tuple(range(rank))
    if rank == 1:
        attributes: dict[str, Any] = {"n_in": inputs, "n_out": outputs}
        kind, weights = "Dense", matrix
    elif rank in (2, 3):
        places = rank - 1
        attributes = _convolution(
            tensor.shape[:-1], (1,) * places, (1,) * places, (0,) * 2 * places, inputs, outputs
        )
        kind, weights = f"Conv{places}D", matrix.reshape(*(1,) * places, inputs, outputs)
        largest, fractions = (part.reshape(*(1,) * places, inputs) for part in (largest, fractions))
    else:
        raise Inexpressible(f"it multiplies an array of {rank} axes")
    layer = WeightedLayer(
        kind, node.layer, (tensor.name,), attributes, weights, largest, fractions, shape, order
    )
    return _pending(planner, result, layer)


def _convolution(
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    pads: tuple[int, ...],
    inputs: int,
    outputs: int,
) -> dict[str, Any]:
    """Return the attributes of a convolution."""
    axes = len(sizes)
    attributes: dict[str, Any] = {
        "n_chan": inputs,
        "n_filt": outputs,
        "data_format": "channels_last",
        "padding": "valid",
    }
    for axis, (name, (before, after)) in enumerate(zip(SIZES[axes], SIDES[axes], strict=True)):
        whole = sizes[axis] + pads[axis] + pads[axes + axis]
        attributes |= {
            f"in_{name}": sizes[axis],
            f"out_{name}": (whole - kernel[axis]) // strides[axis] + 1,
            f"filt_{name}": kernel[axis],
            f"stride_{name}": strides[axis],
            f"dilation_{name}": 1,
            f"pad_{before}": pads[axis],
            f"pad_{after}": pads[axes + axis],
        }
    return attributes


def _conv(planner: Planner, node: TranslatedNode) -> int:
    """A convolution; groups and dilations are zeros in its kernel."""
    value, attributes = _value(node), _attributes(node)
    tensor = _channels_last(planner, value)
    kernel = np.asarray(node.constants[1], np.float64)
    outputs, per_group, *sizes = kernel.shape
    axes, groups = len(sizes), attributes.get("group", 1)
    dilations, strides = (attributes.get(name, [1] * axes) for name in ("dilations", "strides"))
    spans = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, sizes, strict=True)]
    whole = np.zeros((outputs, per_group * groups, *spans))
    places = tuple(slice(None, None, dilation) for dilation in dilations)
    for group in range(groups):
        mine = slice(group * outputs // groups, (group + 1) * outputs // groups)
        whole[(mine, slice(group * per_group, (group + 1) * per_group), *places)] = kernel[mine]
    weights = np.moveaxis(whole, (0, 1), (-1, -2))
    ranges = planner.ranges[value]
    inner = tuple(range(1, axes + 1))
    largest = np.maximum(np.abs(ranges.low), np.abs(ranges.high)).max(axis=inner)
    fractions = ranges.fraction.max(axis=inner)
    result = _result(planner, node)
    channels_first = planner.program.shape(result)
    layer = WeightedLayer(
        f"Conv{axes}D",
        node.layer,
        (tensor.name,),
        _convolution(
            tensor.shape[:-1],
            tuple(spans),
            tuple(strides),
            tuple(padding(attributes, tensor.shape[:-1], spans, strides)),
            per_group * groups,
            outputs,
        ),
        weights,
        np.broadcast_to(largest, weights.shape[:-1]),
        np.broadcast_to(fractions, weights.shape[:-1]),
        (*channels_first[1:], channels_first[0]),
        (*range(1, axes + 1), 0),
    )
    return _pending(planner, result, layer)


def _pool(operation: str) -> Callable[[Planner, TranslatedNode], int]:
    """Return the operator MaxPool or AveragePool."""

    def operator(planner: Planner, node: TranslatedNode) -> int:
        value, attributes = _value(node), _attributes(node)
        tensor = _channels_last(planner, value)
        kernel = attributes["kernel_shape"]
        axes = len(kernel)
        if any(one != 1 for one in attributes.get("dilations", [])):
            raise Inexpressible("its windows have gaps")
        strides = attributes.get("strides", [1] * axes)
        sizes = tensor.shape[:-1]
        pads = padding(attributes, sizes, kernel, strides)
        kind = planner.type_of(tensor)
        if operation == "Max" and any(pads):
            if planner.ranges[value].low.min() < 0:
                raise Inexpressible(
                    "it pads, and its numbers can be negative, where hls4ml would have to pad with the lowest one"
                )
            tensor = _padded(
                planner, tensor, pads, kind
            )  # hls4ml itself pads unsigned types with their largest number
            sizes, pads = tensor.shape[:-1], [0] * 2 * axes
        given: dict[str, Any] = {
            "n_filt": tensor.shape[-1],
            "data_format": "channels_last",
            "count_pad": True,
        }
        shape = []
        for axis, (name, (before, after)) in enumerate(zip(SIZES[axes], SIDES[axes], strict=True)):
            out = (sizes[axis] + pads[axis] + pads[axes + axis] - kernel[axis]) // strides[axis] + 1
            shape.append(out)
            given |= {
                f"pool_{name}": kernel[axis],
                f"stride_{name}": strides[axis],
                f"pad_{before}": pads[axis],
                f"pad_{after}": pads[axes + axis],
            }
            given |= (
                {"n_in": sizes[0], "n_out": out}
                if axes == 1
                else {f"in_{name}": sizes[axis], f"out_{name}": out}
            )
        return _pooled(
            planner,
            node,
            f"{operation}Pooling{axes}D",
            given,
            tensor,
            (*shape, tensor.shape[-1]),
            int(np.prod(kernel)),
        )

    return operator


def _global_pool(operation: str) -> Callable[[Planner, TranslatedNode], int]:
    """Return the operator that pools whole images."""

    def operator(planner: Planner, node: TranslatedNode) -> int:
        value = _value(node)
        rank = len(planner.program.shape(value))
        result = node.results[0]
        if node.node.op_type.startswith("Reduce"):
            axes = _attributes(node).get("axes")
            if axes is None and len(node.constants) > 1 and node.constants[1] is not None:
                axes = np.asarray(node.constants[1]).tolist()
            if axes is None or sorted(axis % (rank + 1) for axis in axes) != list(range(2, rank + 1)):
                raise Inexpressible("it reduces other axes than those of whole images")
        tensor = _channels_last(planner, value)
        axes_count = rank - 1
        given: dict[str, Any] = {"n_filt": tensor.shape[-1], "data_format": "channels_last"}
        if axes_count == 1:
            given["n_in"] = tensor.shape[0]
        else:
            given |= {"in_height": tensor.shape[0], "in_width": tensor.shape[1]}
        window = int(np.prod(tensor.shape[:-1]))
        done = _pooled(
            planner, node, f"Global{operation}Pooling{axes_count}D", given, tensor, tensor.shape[-1:], window
        )
        shape = planner.program.shape(result)
        if len(shape) > 1:
            pooled = planner.placed[result]
            name = planner.add(
                "Reshape",
                "reshape",
                (pooled.name,),
                {"target_shape": list(shape) or [1]},
                {"result": plain(planner.type_of(pooled))},
            )
            planner.finish(result, HlsTensor(name, shape, tuple(range(len(shape)))))
        return done

    return operator


def _pooled(
    planner: Planner,
    node: TranslatedNode,
    kind: str,
    attributes: Mapping[str, Any],
    tensor: HlsTensor,
    shape: tuple[int, ...],
    window: int,
) -> int:
    """Place a pooling layer; an average adds all of a window before it divides."""
    result = node.results[0]
    accumulator = plain(planner.type_of(tensor))
    if "Average" in kind:
        more = window.bit_length() - 1
        accumulator = FixedFormat(
            accumulator.width + 2 * more, accumulator.integer + more, accumulator.signed
        )
    types = {"result": planner.format(result), "accum": accumulator}
    name = planner.add(kind, "pool", (tensor.name,), dict(attributes), types)
    order = (*range(1, len(shape)), 0)
    planner.finish(result, HlsTensor(name, shape, order))
    return result


def _padded(planner: Planner, tensor: HlsTensor, pads: list[int], kind: FixedFormat) -> HlsTensor:
    """Place zeros around an image."""
    axes = len(pads) // 2
    given: dict[str, Any] = {"n_chan": tensor.shape[-1], "data_format": "channels_last"}
    shape = []
    for axis, (name, (before, after)) in enumerate(zip(SIZES[axes], SIDES[axes], strict=True)):
        shape.append(tensor.shape[axis] + pads[axis] + pads[axes + axis])
        given |= {
            f"in_{name}": tensor.shape[axis],
            f"out_{name}": shape[-1],
            f"pad_{before}": pads[axis],
            f"pad_{after}": pads[axes + axis],
        }
    name = planner.add(f"ZeroPadding{axes}D", "padding", (tensor.name,), given, {"result": kind})
    return HlsTensor(name, (*shape, tensor.shape[-1]), tensor.order)


def _pad(planner: Planner, node: TranslatedNode) -> int:
    """Zeros around the images, but no new channels."""
    value, result = _value(node), node.results[0]
    given = _attributes(node).get("pads")
    amounts = list(given if given is not None else np.asarray(node.constants[1]).tolist())
    rank = len(planner.program.shape(value)) + 1
    fill = node.constants[2] if len(node.constants) > 2 else None
    if (fill is not None and np.any(fill)) or amounts[1] or amounts[rank + 1] or min(amounts) < 0:
        raise Inexpressible("it pads channels, cuts, or pads with other numbers than zero")
    tensor = _channels_last(planner, value)
    planner.finish(
        result, _padded(planner, tensor, amounts[2:rank] + amounts[rank + 2 :], planner.type_of(tensor))
    )
    return result


def _reshape(planner: Planner, node: TranslatedNode) -> int:
    """The same elements in another shape."""
    value, result = _value(node), node.results[0]
    tensor, shape = planner.natural(value), planner.program.shape(result)
    name = planner.add(
        "Reshape",
        "reshape",
        (tensor.name,),
        {"target_shape": list(shape) or [1]},
        {"result": plain(planner.type_of(tensor))},
    )
    planner.finish(result, HlsTensor(name, shape, tuple(range(len(shape)))))
    return result


def _transpose(planner: Planner, node: TranslatedNode) -> int:
    """Other names for the axes; elements move where a layer needs another order."""
    value, result = _value(node), node.results[0]
    tensor = planner.place(value)
    rank = len(tensor.shape) + 1
    permutation = _attributes(node).get("perm", list(range(rank))[::-1])
    if permutation[0] != 0:
        raise Inexpressible("it mixes events")
    order = tuple(permutation.index(axis + 1) - 1 for axis in tensor.order)
    planner.finish(result, HlsTensor(tensor.name, tensor.shape, order))
    return result


def _concat(planner: Planner, node: TranslatedNode) -> int:
    """Two or more arrays after each other."""
    result = node.results[0]
    if any(value is None for value in node.values):
        raise Inexpressible("one of its inputs is constant")
    tensors = [planner.natural(value) for value in node.values if value is not None]
    rank = len(tensors[0].shape)
    axis = _attributes(node)["axis"] % (rank + 1)
    if rank > 3:
        raise Inexpressible(f"its inputs have {rank} axes, and hls4ml takes at most three")
    joined = tensors[0]
    for other in tensors[1:]:
        shape = list(joined.shape)
        shape[axis - 1] += other.shape[axis - 1]
        given = {"op": f"concatenate{rank}d", "axis": axis}
        name = planner.add(
            "Concatenate", "concatenate", (joined.name, other.name), given, {"result": planner.format(result)}
        )
        joined = HlsTensor(name, tuple(shape), tuple(range(rank)))
    planner.finish(result, joined)
    return result


def _trees(planner: Planner, node: TranslatedNode) -> int:
    """Decision trees, which are another project's."""
    del planner, node
    raise Inexpressible("it has no layer for decision trees, of which conifer makes HLS")


STRUCTURES: dict[str, Callable[[Planner, TranslatedNode], int]] = {
    "AveragePool": _pool("Average"),
    "Concat": _concat,
    "Conv": _conv,
    "Flatten": _reshape,
    "Gemm": _dense,
    "GlobalAveragePool": _global_pool("Average"),
    "GlobalMaxPool": _global_pool("Max"),
    "MatMul": _dense,
    "MaxPool": _pool("Max"),
    "Pad": _pad,
    "ReduceMax": _global_pool("Max"),
    "ReduceMean": _global_pool("Average"),
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "Transpose": _transpose,
    "TreeEnsembleRegressor": _trees,
    "Unsqueeze": _reshape,
}
