"""Which parts of a graph are quantised: the layers with weights, and the tensors that enter them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from tamis._base import ModelError
from tamis.bundle.model import graphs
from tamis.bundle.rewrite.fold_normalisation import fold_normalisation
from tamis.compress.recurrent.expand import Expansion, expand_recurrent
from tamis.compress.recurrent.points import QUANTISED, SharedPoint, TableFunction

WEIGHT_OPERATORS = ("MatMul", "Gemm", "Conv")
# Operators whose result consists of elements of their inputs, or of sums of them: exact in fixed point.
GRID_OPERATORS = frozenset(
    [
        "Add", "AveragePool", "Clip", "Concat", "Dropout", "Expand", "Flatten", "Gather", "Identity", "Max", "MaxPool", "Min", "Neg",
        "Pad", "ReduceMax", "ReduceMin", "ReduceSum", "Relu", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Sub", "Tile",
        "Transpose", "Unsqueeze", "Upsample",
    ]
)  # fmt: skip
# Those that keep the sign of non-negative values.
KEEPS_SIGN = GRID_OPERATORS - {"Add", "Clip", "Neg", "Pad", "Sub"}
# Those whose results are elements of their inputs, in the same format.
KEEPS_FORMAT = frozenset(
    ["Dropout", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"]
)


@dataclass(frozen=True)
class WeightLayer:
    """A layer with weights: the tensor that it reads, its weights and bias, and the axes of the weights."""

    name: str
    operator: str
    data: str
    weight: str
    bias: str
    output: str  # with the bias added
    outputs_axis: int  # of the weights
    rank: int  # of the weights
    groups: int = 1
    hidden: bool = False  # whether only other layers see its output
    uses: int = 1  # how often it is computed for an event: once in every step of a recurrent layer

    def of_outputs(self, values: np.ndarray) -> np.ndarray:
        """Return one value for each output in the shape that broadcasts against the weights."""
        return np.asarray(values).reshape(
            [-1 if axis == self.outputs_axis else 1 for axis in range(self.rank)]
        )


@dataclass(frozen=True)
class QuantisedTensor:
    """A tensor that is rounded, as those that enter layers are, and whether its values can be negative.

    In a recurrent layer it is one tensor for every step, all in one format.
    """

    tensor: str
    quantised: str
    is_input: bool  # no layer comes before it
    non_negative: bool
    layers: tuple[int, ...]  # that read it
    point: SharedPoint | None = None  # of a recurrent layer

    @property
    def places(self) -> list[tuple[str, str]]:
        """The tensors before and after the rounding."""
        return [(self.tensor, self.quantised)] if self.point is None else self.point.tensors


@dataclass(frozen=True)
class LayeredModel:
    """A graph with its layers; an Identity stands at every place where values are to be quantised."""

    model: onnx.ModelProto
    layers: tuple[WeightLayer, ...]
    tensors: tuple[QuantisedTensor, ...]
    tables: tuple[TableFunction, ...] = ()

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Return the constants of the graph."""
        return {one.name: numpy_helper.to_array(one) for one in self.model.graph.initializer}


def find_layers(model: onnx.ModelProto, name: str) -> LayeredModel:
    """Fold normalisations into the layers, and find what can be quantised; raise ModelError where that is nothing."""
    if len(list(graphs(model.graph))) > 1:
        raise ModelError(
            f"{name} has branches (If, Loop), which cannot be compressed: export it without them"
        )
    found = _Walk(_plain(model, name), name).run()
    if not found.layers:
        operators = ", ".join(sorted({node.op_type for node in model.graph.node}))
        raise ModelError(
            f"{name} has no layer with constant weights ({', '.join(WEIGHT_OPERATORS)}) to compress; its operators are {operators}"
        )
    return found


def _plain(model: onnx.ModelProto, name: str) -> Expansion:
    """Return the model with constants as initialisers, an affine preprocessing and batch normalisations folded, recurrent layers expanded."""
    graph = ir.from_proto(model)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(graph)
    fold_normalisation(graph.graph)
    plain = ir.to_proto(graph)
    del plain.graph.value_info[:]
    _fold_batch_norms(plain)
    return expand_recurrent(plain, name)


def _fold_batch_norms(model: onnx.ModelProto) -> None:
    """Fold every batch normalisation into the layer before it."""
    arrays = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    readers: dict[str, int] = {}
    for node in model.graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    for node in list(model.graph.node):
        layer = producers.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if layer is None or layer.op_type not in ("Conv", "Gemm") or readers[node.input[0]] != 1:
            continue
        if any(name not in arrays for name in (*node.input[1:], *layer.input[1:])):
            continue
        scale, shift, mean, variance = (arrays[name].astype(np.float64) for name in node.input[1:])
        epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
        factor = scale / np.sqrt(variance + epsilon)
        weight = arrays[layer.input[1]].astype(np.float64)
        outputs_axis = 0 if layer.op_type == "Conv" or _integer(layer, "transB", 0) else 1
        shape = [-1 if axis == outputs_axis else 1 for axis in range(weight.ndim)]
        bias = arrays[layer.input[2]].astype(np.float64) if len(layer.input) > 2 else 0.0
        place = node.name or node.output[0]
        for index, value in ((1, weight * factor.reshape(shape)), (2, (bias - mean) * factor + shift)):
            new = f"{place}/{'weight' if index == 1 else 'bias'}"
            model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), new))
            if index < len(layer.input):
                layer.input[index] = new
            else:
                layer.input.append(new)
        layer.output[0] = node.output[0]
        model.graph.node.remove(node)


class _Walk:
    """Follows the values through the graph: which are exact in fixed point, which come from the host."""

    def __init__(self, expansion: Expansion, name: str) -> None:
        model = self.model = expansion.model
        self.name, self.nodes, self.tables = name, list(model.graph.node), expansion.tables
        self.arrays = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
        self.points, self.names = {one.name: one for one in expansion.points}, expansion.layers
        # the point whose values a tensor has, and what follows the roundings of the points
        self.owners = {key: value for key, value in expansion.owners.items() if value in self.points}
        self.rounded = {after: one.name for one in expansion.points for _, after in one.tensors}
        # the layers that a value depends on, and the operator that made it inexact since
        self.behind: dict[str, frozenset[int]] = {}
        self.inexact: dict[str, str] = {}
        self.non_negative: set[str] = set()
        self.layers: list[WeightLayer] = []
        self.reads: dict[str, list[int]] = {}
        self.numbers: dict[
            str, int
        ] = {}  # of layers by their weights, of which steps of a recurrent layer share one

    def run(self) -> LayeredModel:
        biases: dict[str, int] = {}
        for node in self.nodes:  # which may grow behind this node
            if node.output[0] in biases:  # the Add of a bias is part of its layer
                self.behind[node.output[0]] = frozenset({biases[node.output[0]]})
            elif self._is_layer(node):
                layer = self._layer(node)
                number = self._number(layer)
                self.behind[node.output[0]] = frozenset({number})
                if layer.output != node.output[0]:
                    biases[layer.output] = number
            else:
                self._step(node)
        return self._result(self.nodes)

    def _number(self, layer: WeightLayer) -> int:
        """Return the number of a layer, which is that of an earlier step if it shares the weights of one."""
        source = self.owners.get(layer.data, layer.data)
        number = self.numbers.setdefault(layer.weight, len(self.layers))
        if number == len(self.layers):
            self.layers.append(layer)
            self.reads.setdefault(source, []).append(number)
            return number
        first = self.layers[number]
        if source not in self.points or self.owners.get(first.data) != source or first.bias != layer.bias:
            raise ModelError(
                f"{self.name} has layers that share the weights {layer.weight!r}: export every layer with weights of its own"
            )
        self.layers[number] = replace(first, uses=first.uses + 1)
        return number

    def _is_layer(self, node: onnx.NodeProto) -> bool:
        if node.op_type not in WEIGHT_OPERATORS or len(node.input) < 2 or node.input[1] not in self.arrays:
            return False
        return self.arrays[node.input[1]].ndim >= 2 and node.input[0] not in self.arrays

    def _layer(self, node: onnx.NodeProto) -> WeightLayer:
        """Return a layer, with a bias of zero if it has none."""
        place, data = self.names.get(node.input[1]) or node.name or node.output[0], node.input[0]
        if data in self.inexact:
            raise ModelError(
                f"the layer {place} of {self.name} reads the result of {self.inexact[data]}, which is not exact in fixed "
                "point: compress a model whose layers are joined by Relu, pooling and changes of shape"
            )
        weight = self.arrays[node.input[1]]
        if node.op_type == "MatMul" and weight.ndim != 2:
            raise ModelError(
                f"the layer {place} of {self.name} multiplies stacks of matrices: export it as a dense layer"
            )
        if node.op_type == "Gemm" and (
            _integer(node, "transA", 0)
            or any(a.name in ("alpha", "beta") and a.f != 1.0 for a in node.attribute)
        ):
            raise ModelError(
                f"the layer {place} of {self.name} has alpha, beta or transA: export it as a plain dense layer"
            )
        axis = 0 if node.op_type == "Conv" or (node.op_type == "Gemm" and _integer(node, "transB", 0)) else 1
        bias, output = self._bias(node, weight.shape[axis])
        if bias not in self.arrays:
            raise ModelError(
                f"the bias of the layer {place} of {self.name} is computed: export it as a constant"
            )
        groups = _integer(node, "group", 1)
        return WeightLayer(place, node.op_type, data, node.input[1], bias, output, axis, weight.ndim, groups)

    def _bias(self, node: onnx.NodeProto, outputs: int) -> tuple[str, str]:
        """Return the bias of a layer, which may be added by the next node, and the result with it."""
        result = node.output[0]
        if len(node.input) > 2 and node.input[2]:
            return node.input[2], result
        followers = [other for other in self.nodes if result in other.input]
        if len(followers) == 1 and followers[0].op_type == "Add":
            other = next((name for name in followers[0].input if name != result), result)
            if other in self.arrays and self._fits(self.arrays[other], node, outputs):
                return other, followers[0].output[0]
        bias = f"{result}/bias"
        self.arrays[bias] = np.zeros(outputs, np.float32)
        self.model.graph.initializer.append(numpy_helper.from_array(self.arrays[bias], bias))
        if node.op_type != "MatMul":
            del node.input[2:]
            node.input.append(bias)
            return bias, result
        node.output[0] = f"{result}/product"
        self.nodes.insert(
            self.nodes.index(node) + 1, helper.make_node("Add", [node.output[0], bias], [result])
        )
        return bias, result

    def _fits(self, bias: np.ndarray, node: onnx.NodeProto, outputs: int) -> bool:
        """Return whether an added constant has one value for each output of a layer."""
        if node.op_type == "Conv":
            return bias.ndim == self.arrays[node.input[1]].ndim - 1 and bias.size == bias.shape[0] == outputs
        return bias.size == outputs and bias.shape[-1:] == (outputs,)

    def _step(self, node: onnx.NodeProto) -> None:
        """Follow an operator without weights."""
        data = [name for name in node.input if name and name not in self.arrays]
        behind = frozenset[int]().union(*(self.behind.get(name, frozenset()) for name in data))
        inexact = next((self.inexact[name] for name in data if name in self.inexact), "")
        if behind and not inexact and not self._is_exact(node):
            inexact = f"{node.op_type} (node {node.name or node.output[0]!r})"
        positive = node.op_type == "Relu" or (
            node.op_type in KEEPS_SIGN and bool(data) and all(name in self.non_negative for name in data)
        )
        point = self.points.get(self.rounded.get(node.output[0], ""))
        if point is not None and not point.of_channels:  # of a sum, a product, or a table
            inexact, positive = "", point.non_negative
        owner = (
            {self.owners.get(name) for name in data} if node.op_type in KEEPS_FORMAT | {"Concat"} else {None}
        )
        for output in filter(None, node.output):
            self.behind[output] = behind
            if inexact:
                self.inexact[output] = inexact
            if positive:
                self.non_negative.add(output)
            if len(owner) == 1 and None not in owner:
                self.owners.setdefault(output, str(*owner))

    def _is_exact(self, node: onnx.NodeProto) -> bool:
        if node.op_type not in GRID_OPERATORS:
            return False
        constants = [self.arrays[name] for name in node.input if name in self.arrays]
        if node.op_type in ("Add", "Sub", "Max", "Min", "Clip"):
            return all(
                np.array_equal(one * 2.0**8, np.rint(one * 2.0**8))
                for one in constants
                if one.dtype.kind == "f"
            )
        if node.op_type == "AveragePool":  # a mean of 2^n values is exact
            shape = next(list(a.ints) for a in node.attribute if a.name == "kernel_shape")
            padded = any(a.name == "pads" and any(a.ints) for a in node.attribute)
            return not padded and np.prod(shape) & (np.prod(shape) - 1) == 0
        if node.op_type in ("Resize", "Upsample"):
            return all(a.s == b"nearest" for a in node.attribute if a.name == "mode")
        return True

    def _result(self, nodes: list[onnx.NodeProto]) -> LayeredModel:
        """Put an Identity in front of the layers, one for each tensor that they read."""
        points = self._points()
        before = {index for name in self.reads for index in self.behind.get(name, ())}
        before |= {index for one in points for name, _ in one.places for index in self.behind.get(name, ())}
        seen = self._seen_outside()
        layers = [
            replace(layer, hidden=index in before and index not in seen and layer.uses == 1)
            for index, layer in enumerate(self.layers)
        ]
        tensors = []
        for name, readers in self.reads.items():
            if name in self.points:
                continue
            quantised = name + QUANTISED
            kind = not self.behind.get(name)
            tensors.append(QuantisedTensor(name, quantised, kind, name in self.non_negative, tuple(readers)))
            for index in readers:
                layers[index] = replace(layers[index], data=quantised)
        for one in points:
            for index in one.layers:
                layers[index] = replace(layers[index], data=one.quantised)
        tensors += points
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        del model.graph.node[:]
        done: set[str] = set()
        for node in nodes:
            copy = model.graph.node.add()
            copy.CopyFrom(node)
            if self._is_layer(node):
                name = node.input[0]
                if name in self.owners:
                    continue
                copy.input[0] = name + QUANTISED
                if name not in done:
                    model.graph.node.remove(copy)
                    model.graph.node.append(helper.make_node("Identity", [name], [name + QUANTISED]))
                    model.graph.node.append(copy)
                    done.add(name)
        return LayeredModel(model, tuple(layers), tuple(tensors), self.tables)

    def _points(self) -> list[QuantisedTensor]:
        """Return the tensors that steps of recurrent layers round."""
        result = []
        for point in self.points.values():
            before, after = point.tensors[0]
            positive = point.non_negative or (point.of_channels and before in self.non_negative)
            kind = point.of_channels and not self.behind.get(before)
            result.append(
                QuantisedTensor(before, after, kind, positive, tuple(self.reads.get(point.name, ())), point)
            )
        return result

    def _seen_outside(self) -> set[int]:
        """Return the layers whose values reach an output of the graph without another layer in between."""
        outputs = {value.name for value in self.model.graph.output}
        return {index for name in outputs for index in self.behind.get(name, ())}


def _integer(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def heads(model: onnx.ModelProto) -> Iterator[tuple[str, str, str]]:
    """Yield (output, operator, logits) of the outputs of the graph that a Softmax or a Sigmoid makes."""
    producers = {name: node for node in model.graph.node for name in node.output}
    for value in model.graph.output:
        node = producers.get(value.name)
        while node is not None and node.op_type in ("Identity", "Squeeze", "Flatten", "Reshape"):
            node = producers.get(node.input[0])
        if node is not None and node.op_type in ("Softmax", "Sigmoid"):
            yield value.name, node.op_type, node.input[0]
