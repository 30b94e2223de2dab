"""Graphs whose sums need more than the 24 bits of float32: the layers compute in float64, whose 53 bits hold them."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tamis.compress.graph import GRID_OPERATORS, LayeredModel
from tamis.compress.recurrent.points import QUANTISED

FLOAT64_OPERATORS = (GRID_OPERATORS - {"AveragePool", "Resize", "Upsample"}) | {"MatMul", "Gemm"}
SUFFIX = "/float64"


def in_float64(model: onnx.ModelProto, found: LayeredModel) -> onnx.ModelProto:
    """Return a graph that computes in float64 from its quantised inputs to the results of its last layers.

    Quantised inputs are cast there, which is exact; what leaves the layers, for a Softmax or as an output of the graph, is cast back and
    rounded once.
    """
    entries = {tensor.quantised for tensor in found.tensors if tensor.is_input}
    inside, nodes = _inside(model, entries)
    read = [set[str](), {value.name for value in model.graph.output}]  # inside, outside
    for place, node in enumerate(model.graph.node):
        read[place not in nodes].update(node.input)
    leaving = inside & read[1] - entries
    constants, renamed = _constants(model, *read)
    renamed |= {name: name + SUFFIX for name in inside}
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    del wide.graph.node[:], wide.graph.value_info[:], wide.graph.initializer[:]
    wide.graph.initializer.extend(constants)
    for place, node in enumerate(model.graph.node):
        copy = wide.graph.node.add()
        copy.CopyFrom(node)
        if place in nodes:
            for names in (copy.input, copy.output):
                names[:] = [renamed.get(name, name) for name in names]
        for name in node.output:
            if name in entries:
                wide.graph.node.append(
                    helper.make_node("Cast", [name], [name + SUFFIX], to=TensorProto.DOUBLE)
                )
            elif name in leaving:
                wide.graph.node.append(
                    helper.make_node("Cast", [name + SUFFIX], [name], to=TensorProto.FLOAT)
                )
    return wide


def _inside(model: onnx.ModelProto, entries: AbstractSet[str]) -> tuple[set[str], set[int]]:
    """Return the tensors that exist in float64, and the places of the nodes that compute there."""
    tensors, nodes = set(entries), set[int]()
    zeros = {one.name for one in model.graph.initializer if not numpy_helper.to_array(one).any()}
    for place, node in enumerate(model.graph.node):
        quantises = QUANTISED in node.output[0]
        product = node.op_type == "Mul" and (tensors | zeros).issuperset(node.input)  # of a state and a gate
        if tensors.intersection(node.input) and (node.op_type in FLOAT64_OPERATORS or quantises or product):
            nodes.add(place)
            tensors.update(filter(None, node.output))
    return tensors, nodes


def _constants(
    model: onnx.ModelProto, inside: AbstractSet[str], outside: AbstractSet[str]
) -> tuple[list[onnx.TensorProto], dict[str, str]]:
    """Return the constants, in float64 where they are read inside, and the new names of those that are read outside as well."""
    constants, renamed = list[onnx.TensorProto](), dict[str, str]()
    for constant in model.graph.initializer:
        floats = constant.data_type == TensorProto.FLOAT
        if not floats or constant.name not in inside or constant.name in outside:
            constants.append(constant)
        if floats and constant.name in inside:
            name = constant.name
            if name in outside:
                name = renamed[name] = name + SUFFIX
            constants.append(
                numpy_helper.from_array(numpy_helper.to_array(constant).astype(np.float64), name)
            )
    return constants, renamed
