"""Take removed neurons and channels out of the graph, so that every engine has fewer operations."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

from tamis.compress.graph import LayeredModel, WeightLayer

KEEPS_CHANNELS = frozenset(["AveragePool", "Identity", "MaxPool", "Relu"])


def shrink(model: onnx.ModelProto, found: LayeredModel) -> None:
    """Remove every output of a hidden layer that is always zero, or that no later layer reads, where both sides can be cut.

    `model` is the exported graph of `found`, whose quantisers keep zero at zero.
    """
    arrays = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    joints = list(_joints(found))
    changed: set[str] = set()
    again = True
    while again:
        again = False
        for producer, readers, entry in joints:
            weight = arrays[producer.weight]
            others = tuple(axis for axis in range(weight.ndim) if axis != producer.outputs_axis)
            zero = (weight == 0).all(axis=others) & (arrays[producer.bias].reshape(-1) == 0)
            unread = np.ones(len(zero), bool)
            for reader in readers:
                values = np.moveaxis(arrays[reader.weight], _inputs_axis(reader), 0)
                unread &= (values == 0).reshape(len(values), -1).all(axis=1)
            kept = np.flatnonzero(~(zero | unread))
            if not len(kept) or len(kept) == len(zero):
                continue
            again = True
            cuts = {
                producer.weight: producer.outputs_axis,
                producer.bias: _axis_of(arrays[producer.bias], len(zero)),
            }
            cuts |= {reader.weight: _inputs_axis(reader) for reader in readers}
            for name in (
                name for name in arrays if name.startswith(f"{entry}/")
            ):  # the constants of its quantiser
                if arrays[name].size > 1:
                    cuts[name] = _axis_of(arrays[name], len(zero))
            for name, axis in cuts.items():
                arrays[name] = np.take(arrays[name], kept, axis=axis)
            changed |= set(cuts)
    for one in model.graph.initializer:
        if one.name in changed:
            one.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(arrays[one.name]), one.name))


def _joints(found: LayeredModel) -> Iterator[tuple[WeightLayer, list[WeightLayer], str]]:
    """Yield each layer with the layers that are all that reads its output, and the tensor by which it reaches them."""
    nodes = found.model.graph.node
    producers = {name: node for node in nodes for name in node.output}
    readers: dict[str, int] = {}
    for node in nodes:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    outputs = {value.name for value in found.model.graph.output}
    for tensor in found.tensors:
        name = tensor.tensor
        by_output = {layer.output: layer for layer in found.layers}
        while name not in by_output and readers.get(name) == 1 and name not in outputs:
            node = producers.get(name)
            if node is None or node.op_type not in KEEPS_CHANNELS:
                break
            name = node.input[0]
        layer = by_output.get(name)
        following = [found.layers[index] for index in tensor.layers]
        if layer is None or readers.get(name) != 1 or name in outputs:
            continue
        plain = all(one.groups == 1 for one in (layer, *following))
        if plain and len({one.operator == "Conv" for one in (layer, *following)}) == 1:
            yield layer, following, tensor.quantised


def _inputs_axis(layer: WeightLayer) -> int:
    return 1 if layer.operator == "Conv" else 1 - layer.outputs_axis


def _axis_of(array: np.ndarray, size: int) -> int:
    """Return the only axis of an array of one value per channel."""
    return next(axis for axis, length in enumerate(array.shape) if length == size)
