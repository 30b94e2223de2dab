"""Quantised networks and trees of many kinds, whose LUTs are estimated and counted: small, and made from seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tamis.fixedpoint import FixedProgram, split_graph

INPUT_BITS = 8
Array = np.ndarray


@dataclass
class Network:
    """A quantised ONNX graph that grows layer by layer."""

    shape: tuple[int, ...]
    seed: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    current: str = "x"

    def __post_init__(self) -> None:
        """Begin with the input."""
        self.rng = np.random.default_rng(self.seed)
        self.sizes = self.shape

    def constant(self, values: Any, kind: Any = np.float32) -> str:
        """Add a constant and return its name."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append a node that reads the current tensor and more, and return its output, the new current one."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [self.current, *inputs], [name], **attributes))
        self.current = name
        return name

    def quantise(self, bits: int, fraction: int, *, signed: bool, rounding: str = "half up") -> Network:
        """Round and limit to fixed point."""
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        self.node("Mul", self.constant(2.0**fraction))
        if rounding == "half up":
            self.node("Add", self.constant(0.5))
        self.node("Round" if rounding == "half to even" else "Floor")
        self.node("Clip", self.constant(low), self.constant(high))
        self.node("Mul", self.constant(2.0**-fraction))
        return self

    def inputs(self, bits: int = INPUT_BITS, fraction: int | None = None) -> Network:
        """Quantise the input: of the range -4 to 4."""
        return self.quantise(
            bits, bits - 3 if fraction is None else fraction, signed=True, rounding="half to even"
        )

    def weights(self, shape: tuple[int, ...], fan_in: int, bits: int, kept: float) -> Array:
        """Return weights as trained ones are distributed: normal, the small ones pruned, on one grid."""
        values = self.rng.normal(size=shape) / np.sqrt(fan_in * kept)
        values *= np.abs(values) >= np.quantile(np.abs(values), 1 - kept)
        return on_grid(values, bits)

    def dense(
        self, outputs: int, bits: int, kept: float = 1.0, *, bias: bool = True, given: Array | None = None
    ) -> Network:
        """Multiply by a matrix and add a bias."""
        (inputs,) = self.sizes
        weights = self.weights((inputs, outputs), inputs, bits, kept) if given is None else given
        self.node("MatMul", self.constant(weights))
        if bias:
            self.node("Add", self.constant(on_grid(self.rng.normal(size=outputs) / 4, bits)))
        self.sizes = (outputs,)
        return self

    def convolve(
        self,
        channels: int,
        kernel: tuple[int, ...],
        bits: int,
        kept: float = 1.0,
        strides: tuple[int, ...] | None = None,
    ) -> Network:
        """Convolve without padding."""
        strides = strides or (1,) * len(kernel)
        weights = self.weights(
            (channels, self.sizes[0], *kernel), self.sizes[0] * int(np.prod(kernel)), bits, kept
        )
        bias = on_grid(self.rng.normal(size=channels) / 4, bits)
        self.node("Conv", self.constant(weights), self.constant(bias), kernel_shape=kernel, strides=strides)
        places = zip(self.sizes[1:], kernel, strides, strict=True)
        self.sizes = (channels, *((size - width) // stride + 1 for size, width, stride in places))
        return self

    def relu(self, bits: int, integer: int = 2, rounding: str = "half up") -> Network:
        """Rectify, and quantise without a sign."""
        self.node("Relu")
        return self.quantise(bits, bits - integer, signed=False, rounding=rounding)

    def pool(self, kernel: tuple[int, ...], kind: str = "MaxPool") -> Network:
        """Pool windows that do not overlap."""
        self.node(kind, kernel_shape=kernel, strides=kernel)
        self.sizes = (
            self.sizes[0],
            *(size // width for size, width in zip(self.sizes[1:], kernel, strict=True)),
        )
        return self

    def flatten(self) -> Network:
        """Join all axes."""
        self.node("Flatten")
        self.sizes = (int(np.prod(self.sizes)),)
        return self

    def table(
        self, bits: int, fraction: int, function: Callable[[Array], Array], out_fraction: int
    ) -> Network:
        """Quantise, and replace by the entries of a table."""
        self.quantise(bits, fraction, signed=True)
        numbers = np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1))
        entries = np.round(function(numbers / 2.0**fraction) * 2**out_fraction) / 2**out_fraction
        self.node("Mul", self.constant(2.0**fraction))
        self.node("Add", self.constant(2.0 ** (bits - 1)))
        index = self.node("Cast", to=onnx.TensorProto.INT64)
        self.nodes.append(
            helper.make_node("Gather", [self.constant(entries), index], [f"t{len(self.nodes)}"])
        )
        self.current = f"t{len(self.nodes) - 1}"
        return self

    def trees(self, count: int, depth: int, outputs: int, leaf_bits: int) -> Network:
        """Sum random trees, with thresholds where the inputs are."""
        nodes, targets = [], []
        for tree in range(count):
            for node in range(2 ** (depth + 1) - 1):
                if node < 2**depth - 1:
                    nodes.append(
                        (
                            tree,
                            node,
                            int(self.rng.integers(self.sizes[0])),
                            float(self.rng.normal()),
                            "BRANCH_LEQ",
                            2 * node + 1,
                            2 * node + 2,
                        )
                    )
                    continue
                nodes.append((tree, node, 0, 0.0, "LEAF", 0, 0))
                for output in range(outputs):
                    weight = np.round(self.rng.normal() * 2 ** (leaf_bits - 3)) / 2 ** (leaf_bits - 1)
                    targets.append((tree, node, output, float(weight)))
        names = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
        fields: dict[str, list[Any]] = {
            f"nodes_{n}": list(c) for n, c in zip(names, zip(*nodes, strict=True), strict=True)
        }
        fields |= {
            f"target_{n}": list(c)
            for n, c in zip(("treeids", "nodeids", "ids", "weights"), zip(*targets, strict=True), strict=True)
        }
        self.node("TreeEnsembleRegressor", domain="ai.onnx.ml", n_targets=outputs, **fields)
        self.sizes = (outputs,)
        return self

    def squares(self) -> Network:
        """Sum the squares."""
        self.node("ReduceSumSquare", axes=[1], keepdims=1)
        self.sizes = (1,)
        return self

    def program(self) -> FixedProgram:
        """Return the integer part of the graph."""
        spec = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            "g",
            [spec("x", onnx.TensorProto.FLOAT, ["N", *self.shape])],
            [spec(self.current, onnx.TensorProto.FLOAT, ["N", *self.sizes])],
            self.constants,
        )
        opsets = [helper.make_opsetid("", 13), helper.make_opsetid("ai.onnx.ml", 3)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        return split_graph(model, {"x": np.zeros((1, *self.shape), np.float32)}).program


def on_grid(values: Array, bits: int) -> Array:
    """Return values on the finest grid of a power of two on which signed integers of these bits hold them."""
    fraction = bits - 1 - int(np.ceil(np.log2(np.abs(values).max())))
    limit = 2 ** (bits - 1) - 1
    return np.clip(np.round(values * 2.0**fraction), -limit, limit) / 2.0**fraction


def sigmoid(x: Array) -> Array:
    """Return the logistic function."""
    return 1 / (1 + np.exp(-x))


def dense(
    sizes: tuple[int, ...],
    bits: int,
    values: int,
    kept: float,
    seed: int,
    inputs: int = INPUT_BITS,
    rounding: str = "half up",
) -> Network:
    """Return a dense network with ReLU."""
    network = Network((sizes[0],), seed).inputs(inputs)
    for size in sizes[1:-1]:
        network.dense(size, bits, kept).relu(values, rounding=rounding)
    return network.dense(sizes[-1], bits, kept)


def image(
    side: int, channels: int, bits: int, values: int, kept: float, seed: int, pool: str, outputs: int = 3
) -> Network:
    """Return a convolutional network on a picture, with pooling."""
    network = Network((1, side, side), seed).inputs(values)
    network.convolve(channels, (3, 3), bits, kept).relu(values)
    if pool:
        network.pool((2, 2), pool)
    if pool == "AveragePool":
        network.quantise(values, values - 2, signed=False)
    return network.flatten().dense(outputs, bits, kept)


def sequence(
    length: int, channels: int, filters: int, bits: int, values: int, kept: float, seed: int, pool: int
) -> Network:
    """Return a convolutional network on a sequence."""
    network = (
        Network((channels, length), seed).inputs(values).convolve(filters, (3,), bits, kept).relu(values)
    )
    if pool > 1:
        network.pool((pool,))
    return network.flatten().dense(4, bits, kept)


def forest(
    features: int, bits: int, count: int, depth: int, outputs: int, leaf_bits: int, seed: int
) -> Network:
    """Return quantised trees."""
    return Network((features,), seed).inputs(bits).trees(count, depth, outputs, leaf_bits)


def tables(
    size: int, bits: int, values: int, address: int, seed: int, function: Callable[[Array], Array] = sigmoid
) -> Network:
    """Return a network whose activation is a table."""
    return (
        Network((8,), seed)
        .inputs(values)
        .dense(size, bits)
        .table(address, address - 3, function, values)
        .dense(3, bits)
    )


def encoder(sizes: tuple[int, ...], bits: int, values: int, kept: float, seed: int) -> Network:
    """Return a network whose output is the sum of the squares of its last layer."""
    return dense(sizes, bits, values, kept, seed).quantise(values, values - 3, signed=True).squares()


TRAINING: dict[str, Callable[[], Network]] = {
    "dense a": lambda: dense((8, 8, 4), 4, 4, 1.0, 1, 6),
    "dense b": lambda: dense((16, 16, 5), 6, 6, 0.5, 2),
    "dense c": lambda: dense((16, 24, 12, 5), 5, 5, 0.4, 3),
    "dense d": lambda: dense((10, 20, 20, 1), 6, 7, 0.3, 4, 10),
    "dense e": lambda: dense((16, 16, 8, 5), 8, 8, 0.3, 5),
    "dense f": lambda: dense((24, 8, 8), 3, 4, 1.0, 6, 5),
    "dense g": lambda: dense((12, 12, 12, 12, 2), 5, 6, 0.5, 7),
    "dense h": lambda: dense((16, 10, 5), 10, 10, 0.3, 8, 12),
    "dense i": lambda: dense((8, 8, 4), 12, 12, 0.5, 9, 12),
    "dense j": lambda: dense((16, 32, 16, 5), 3, 3, 0.3, 10, 4),
    "dense k": lambda: dense((20, 16, 1), 7, 5, 0.25, 11, 9),
    "dense l": lambda: dense((16, 12, 12, 5), 6, 6, 1.0, 12),
    "dense truncated": lambda: dense((16, 16, 5), 6, 6, 0.5, 13, rounding="down"),
    "dense to even": lambda: dense((12, 16, 4), 6, 5, 0.5, 14, rounding="half to even"),
    "one layer": lambda: Network((16,), 15).inputs().dense(8, 6),
    "one layer, wide": lambda: Network((64,), 16).inputs(6).dense(3, 5, 0.5),
    "image max a": lambda: image(8, 3, 4, 4, 0.5, 17, "MaxPool"),
    "image max b": lambda: image(6, 4, 6, 6, 0.5, 18, "MaxPool"),
    "image mean": lambda: image(8, 2, 5, 6, 0.5, 19, "AveragePool"),
    "image": lambda: image(6, 2, 5, 6, 0.6, 20, ""),
    "sequence max a": lambda: sequence(12, 2, 4, 5, 6, 0.5, 21, 2),
    "sequence max b": lambda: sequence(10, 3, 3, 7, 8, 0.5, 22, 4),
    "sequence": lambda: sequence(10, 2, 3, 6, 6, 0.5, 23, 1),
    "forest a": lambda: forest(8, 8, 20, 3, 1, 6, 24),
    "forest b": lambda: forest(16, 6, 16, 3, 2, 5, 25),
    "forest c": lambda: forest(16, 10, 30, 2, 1, 8, 26),
    "forest d": lambda: forest(6, 12, 8, 4, 1, 10, 27),
    "forest e": lambda: forest(16, 8, 10, 3, 5, 6, 28),
    "tables a": lambda: tables(12, 6, 6, 6, 29),
    "tables b": lambda: tables(8, 6, 8, 8, 30),
    "tables c": lambda: tables(8, 5, 7, 10, 31, np.tanh),
    "tables d": lambda: tables(6, 6, 6, 7, 34),
    "tables e": lambda: tables(6, 6, 7, 8, 35, np.tanh),
    "tables f": lambda: tables(6, 6, 6, 9, 36),
    "tables g": lambda: tables(6, 6, 8, 10, 37),
    "tables h": lambda: tables(8, 6, 5, 6, 38, np.tanh),
    "table alone": lambda: Network((6,), 39).inputs(8).table(8, 5, np.tanh, 8),
    "encoder a": lambda: encoder((16, 16, 4), 6, 6, 0.4, 32),
    "encoder b": lambda: encoder((12, 12, 3), 5, 4, 0.6, 33),
}  # fmt: skip


def trained(bits: int, values: int, kept: float) -> Network:
    """Return the shipped jet tagger with its trained weights, pruned by magnitude and quantised after training."""
    from tamis.bundle import Bundle

    model = Bundle.open("jet-tagger").model
    known = {one.name: numpy_helper.to_array(one).astype(np.float64) for one in model.graph.initializer}
    layers = [
        (
            known[node.input[1]].T
            if any(a.name == "transB" and a.i for a in node.attribute)
            else known[node.input[1]]
        )
        for node in model.graph.node
        if node.op_type in ("Gemm", "MatMul")
    ]
    network = Network((layers[0].shape[0],), 0).inputs(values)
    for index, weights in enumerate(layers):
        large = weights * (np.abs(weights) >= np.quantile(np.abs(weights), 1 - kept))
        network.dense(large.shape[1], bits, given=on_grid(large, bits))
        if index < len(layers) - 1:
            network.relu(values, integer=3)
    return network


# Never used to fit anything.
HELD_OUT: dict[str, Callable[[], Network]] = {
    "jet tagger, 5 bits": lambda: trained(5, 6, 0.3),
    "jet tagger, 4 bits": lambda: trained(4, 5, 0.2),
    "dense, three layers": lambda: dense((16, 20, 10, 5), 7, 6, 0.35, 101),
    "dense, coarse": lambda: dense((30, 10, 10, 3), 4, 4, 0.6, 102, 6),
    "dense, fine": lambda: dense((12, 14, 6), 9, 9, 0.4, 103, 10),
    "dense, truncated": lambda: dense((14, 18, 8, 4), 5, 6, 0.5, 104, rounding="down"),
    "image, max pool": lambda: image(7, 3, 5, 5, 0.5, 105, "MaxPool", 4),
    "sequence, max pool": lambda: sequence(14, 2, 3, 6, 7, 0.6, 106, 2),
    "encoder": lambda: encoder((14, 12, 5), 6, 5, 0.5, 107),
    "tables": lambda: tables(10, 7, 6, 7, 108, np.tanh),
    "forest, shallow": lambda: forest(16, 8, 40, 3, 1, 7, 109),
    "forest, deep": lambda: forest(10, 9, 12, 4, 2, 6, 110),
    "forest, few": lambda: forest(8, 8, 12, 3, 2, 4, 201),
    "forest, coarse": lambda: forest(8, 5, 12, 3, 2, 6, 202),
}
