"""What a model costs for one event: its integer part exactly, and floats by the shapes and weights of ONNX nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
import onnx.inliner
from onnx import helper, numpy_helper

from tamis._base import ModelError
from tamis.bundle.cost import FREE_OPS
from tamis.bundle.reference import Reference
from tamis.fixedpoint import energy
from tamis.fixedpoint.count import count_program
from tamis.fixedpoint.names import layer_name
from tamis.fixedpoint.program import FixedProgram
from tamis.fixedpoint.translate import split_graph
from tamis.records import LayerCount, OperationCount

FLOAT_BITS = 32
PRODUCT_OPERATORS = frozenset(["MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum", "LSTM", "GRU", "RNN"])
ADDING_OPERATORS = frozenset(["Add", "Sub", "Sum", "Neg"])
COMPARING_OPERATORS = frozenset(
    ["Max", "Min", "Relu", "Clip", "Abs", "LeakyRelu", "PRelu", "Greater", "Less", "Equal", "GreaterOrEqual", "LessOrEqual", "Where", "MaxPool", "Floor", "Round", "Ceil", "Sign"]
)  # fmt: skip
REDUCING_OPERATORS = {"ReduceSum": "additions", "ReduceMean": "additions", "AveragePool": "additions", "GlobalAveragePool": "additions", "ReduceMax": "comparisons", "ReduceMin": "comparisons", "GlobalMaxPool": "comparisons", "ArgMax": "comparisons", "ArgMin": "comparisons"}  # fmt: skip
Arrays = Mapping[str, np.ndarray]


def count_model(
    model: onnx.ModelProto, example: dict[str, np.ndarray]
) -> tuple[list[LayerCount], FixedProgram | None]:
    """Count the layers of a model for one event, and return its integer part if it has one."""
    model = onnx.inliner.inline_local_functions(model) if model.functions else model
    values = Reference(model, double=False).trace(example)
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    constants |= {
        node.output[0]: values[node.output[0]] for node in model.graph.node if node.op_type == "Constant"
    }
    try:
        graph = split_graph(model, example)
    except ModelError:  # not quantised
        return count_nodes(model.graph.node, values, constants, "inputs"), None
    layers = count_program(graph.program)
    before = [] if graph.before is None else count_nodes(graph.before.graph.node, values, constants, "before")
    after = [] if graph.after is None else count_nodes(graph.after.graph.node, values, constants, "after")
    return [*before, *layers, *after], graph.program


def count_nodes(
    nodes: Iterable[onnx.NodeProto], values: Arrays, constants: Arrays, first: str
) -> list[LayerCount]:
    """Count nodes in floating point; every product with weights begins a layer, and `first` names what comes before."""
    counted = {first: OperationCount()}
    layer = first
    for node in nodes:
        is_layer = node.op_type in PRODUCT_OPERATORS or node.domain == "ai.onnx.ml"
        if is_layer and (node.domain or any(name in constants for name in node.input)):
            layer = layer_name(node, constants, counted)
            counted[layer] = OperationCount()
        found = _priced(_count(node, values, constants))
        bits = sum(FLOAT_BITS * values[name].size for name in node.output if name in values)
        total = counted[layer] + found
        counted[layer] = total.model_copy(update={"activation_bits": bits or total.activation_bits})
    return [
        LayerCount(name=name, arithmetic="float", **found.model_dump())
        for name, found in counted.items()
        if found.macs or found.additions or found.comparisons or found.functions or found.look_ups
    ]


def _count(node: onnx.NodeProto, values: Arrays, constants: Arrays) -> OperationCount:
    inputs = [values[name] if name in values else constants.get(name, np.empty(0)) for name in node.input]
    output = values[node.output[0]].size if node.output[0] in values else 0
    if node.op_type in FREE_OPS or not inputs:
        return OperationCount()
    if node.domain == "ai.onnx.ml":
        return _trees(node)
    if node.op_type in PRODUCT_OPERATORS:
        return _products(node, inputs, output, constants)
    if node.op_type in REDUCING_OPERATORS:
        window = inputs[0].size
        if node.op_type == "AveragePool":
            window = output * int(np.prod(_attributes(node)["kernel_shape"]))
        return OperationCount(**{REDUCING_OPERATORS[node.op_type]: max(window - output, 0)})
    if node.op_type in ADDING_OPERATORS:
        return OperationCount(additions=output * max(len(inputs) - 1, 1))
    if node.op_type in COMPARING_OPERATORS:
        window = int(np.prod(_attributes(node)["kernel_shape"])) - 1 if node.op_type == "MaxPool" else 1
        return OperationCount(comparisons=output * window)
    if node.op_type in ("Mul", "BatchNormalization"):
        return OperationCount(macs=output, macs_nonzero=output)
    return OperationCount(functions=output)


def _products(
    node: onnx.NodeProto, inputs: list[np.ndarray], output: int, constants: Arrays
) -> OperationCount:
    """Count products: every weight of a matrix or kernel is used as often as there are rows or positions."""
    weights = [array for name, array in zip(node.input, inputs, strict=True) if name in constants]
    if node.op_type in ("LSTM", "GRU", "RNN"):
        used = inputs[1:3]
        steps = inputs[0].shape[0] * inputs[0].shape[1]
        functions = steps * sum(array.shape[0] * array.shape[1] for array in inputs[1:2])
        return _of_weights(used, [steps, steps], additions=functions, functions=functions)
    if node.op_type == "Conv":
        return _of_weights(
            [inputs[1]], [output // inputs[1].shape[0]], additions=output if len(inputs) > 2 else 0
        )
    if node.op_type == "ConvTranspose":
        return _of_weights([inputs[1]], [inputs[0].size // inputs[1].shape[0]])
    if node.op_type == "Einsum":
        sizes: dict[str, int] = {}
        for term, array in zip(
            _attributes(node)["equation"].decode().split("->")[0].split(","), inputs, strict=True
        ):
            sizes |= dict(zip(term.strip(), array.shape, strict=False))
        macs = int(np.prod(list(sizes.values())))
        return OperationCount(macs=macs, macs_nonzero=macs, bops=_float_bops(macs))
    attributes = _attributes(node)
    inner = inputs[0].shape[0 if node.op_type == "Gemm" and attributes.get("transA") else -1]
    if weights and weights[0].ndim == 2 and weights[0].size:
        matrix = inputs[1] if node.input[1] in constants else inputs[0]
        bias = output if node.op_type == "Gemm" and len(inputs) > 2 else 0
        return _of_weights([matrix], [output * inner // matrix.size], additions=bias)
    macs = output * inner
    return OperationCount(macs=macs, macs_nonzero=macs, bops=_float_bops(macs))


def _of_weights(
    weights: list[np.ndarray], uses: list[int], additions: int = 0, functions: int = 0
) -> OperationCount:
    macs = sum(array.size * times for array, times in zip(weights, uses, strict=True))
    size = sum(array.size for array in weights)
    return OperationCount(
        macs=macs,
        macs_nonzero=sum(
            int(np.count_nonzero(array)) * times for array, times in zip(weights, uses, strict=True)
        ),
        additions=additions,
        functions=functions,
        bops=_float_bops(macs),
        weights=size,
        weights_nonzero=sum(int(np.count_nonzero(array)) for array in weights),
        weight_bits=size * FLOAT_BITS,
    )


def _float_bops(macs: int) -> float:
    """Return the bit operations of products of 32 bits each; of floats it is a comparison of widths, not of circuits."""
    return float(macs) * FLOAT_BITS * FLOAT_BITS


def _trees(node: onnx.NodeProto) -> OperationCount:
    """Count one path through every tree, the longest one."""
    attributes = _attributes(node)
    if "nodes_modes" not in attributes:
        return OperationCount()
    nodes = list(zip(attributes["nodes_treeids"], attributes["nodes_nodeids"], strict=True))
    depths = {nodes[0]: 0} if nodes else {}
    deepest: dict[int, int] = {}
    children = zip(
        nodes,
        attributes["nodes_modes"],
        attributes["nodes_truenodeids"],
        attributes["nodes_falsenodeids"],
        strict=True,
    )
    branches = {key: ((key[0], yes), (key[0], no)) for key, mode, yes, no in children if mode != b"LEAF"}
    reached = {child for pair in branches.values() for child in pair}
    waiting = [(key, 0) for key in nodes if key not in reached]
    while waiting:
        key, depth = waiting.pop()
        deepest[key[0]] = max(deepest.get(key[0], 0), depth)
        waiting += [(child, depth + 1) for child in branches.get(key, ())]
    del depths
    trees, outputs = len(deepest), attributes.get("n_targets", 1)
    leaves = len(attributes.get("target_weights", attributes.get("class_weights", ())))
    return OperationCount(
        comparisons=sum(deepest.values()),
        look_ups=trees,
        additions=trees * outputs,
        weights=len(branches) + leaves,
        weights_nonzero=len(branches) + leaves,
        weight_bits=(len(branches) + leaves) * FLOAT_BITS,
    )


def _attributes(node: onnx.NodeProto) -> dict[str, object]:
    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


def _priced(found: OperationCount) -> OperationCount:
    """Return a count with its energy; a function counts as one product, which is too little."""
    products = (found.macs + found.functions) * energy.MULTIPLY_FLOAT32
    sums = (found.macs + found.additions) * energy.ADD_FLOAT32
    return found.model_copy(update={"energy_pj": products + sums + found.comparisons * energy.COMPARE_32})
