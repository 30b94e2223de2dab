"""From a trained network to plain ONNX in which every sum is exact, and the cost of its layers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from tamis._base import ModelError
from tamis.compress.float64 import FLOAT64_OPERATORS, in_float64
from tamis.compress.graph import GRID_OPERATORS, QuantisedTensor
from tamis.compress.network import CompressedNetwork
from tamis.compress.quantisers import TensorQuantiser
from tamis.compress.shrink import shrink
from tamis.fixedpoint import FixedFormat, split_graph
from tamis.fixedpoint.count import set_bits
from tamis.fixedpoint.luts import signed_digits

FLOAT32_BITS, FLOAT64_BITS = 24, 53  # integers up to 2^24 and 2^53 are exact


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs for one event, and its formats."""

    layer: str
    weights: int
    weights_kept: int  # that are not zero
    macs: int  # products with weights that are not zero
    ebops: int
    lut: int
    weight_bits: tuple[int, int]  # least and most bits of a weight that is not zero
    input_format: str

    def of(self, measure: str) -> float:
        """Return the cost by its name."""
        return float(getattr(self, measure))


def layer_costs(network: CompressedNetwork) -> list[LayerCost]:
    """Count every layer.

    EBOPs (arXiv:2405.00645) are the sum over products of the bits of the weight, from its highest to its lowest set bit, times the bits
    of the value. LUT is an estimate for distributed arithmetic: digits of the weight's canonical signed form times the bits of the
    value, before common terms are shared.
    """
    costs = []
    for index, layer in enumerate(network.found.layers):
        weight = network.weight(index).detach().double().numpy()
        kept = weight != 0
        bits = set_bits(weight)
        quantiser = network.source(index)
        width = np.broadcast_to(
            network.of_weights(index, quantiser.bits.detach()).double().numpy(), weight.shape
        )
        positions = network.positions[index]
        used = bits[kept] + 1  # with the sign
        costs.append(
            LayerCost(
                layer=layer.name,
                weights=int(weight.size),
                weights_kept=int(kept.sum()),
                macs=int(kept.sum()) * positions,
                ebops=int((bits * width).sum()) * positions,
                lut=int((signed_digits(weight) * width).sum()) * positions,
                weight_bits=(int(used.min()), int(used.max())) if used.size else (0, 0),
                input_format=str(format_of(quantiser)),
            )
        )
    return costs


def format_of(quantiser: TensorQuantiser) -> FixedFormat:
    """Return the format of a tensor."""
    integer = quantiser.integer.detach().long().numpy() + int(quantiser.signed)
    width = np.maximum(quantiser.fraction.detach().long().numpy() + integer, 0)
    rounding = "RND_CONV" if quantiser.is_input else "RND"
    if width.size == 1 and width.flat[0] > 0:
        return FixedFormat(int(width.flat[0]), int(integer.flat[0]), quantiser.signed, rounding, "SAT")
    return FixedFormat(width, integer, quantiser.signed, rounding, "SAT")


def export_network(network: CompressedNetwork) -> onnx.ModelProto:
    """Return the network as an ONNX model, in float64 where sums are too wide for float32; raises ModelError where they are for both."""
    wide = needs_float64(network)
    model = onnx.ModelProto()
    model.CopyFrom(network.found.model)
    arrays = {one.name: one for one in model.graph.initializer}
    for index, layer in enumerate(network.found.layers):
        with torch.no_grad():
            values = {layer.weight: network.weight(index).numpy(), layer.bias: network.bias(index).numpy()}
        for name, value in values.items():
            shape = numpy_helper.to_array(arrays[name]).shape
            plain = value.reshape(shape).astype(np.float32) + np.float32(0)  # no negative zeros
            arrays[name].CopyFrom(numpy_helper.from_array(plain, name))
    chains = _chains(network)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    present: set[str] = set()
    for node in nodes:
        made = chains.get(node.output[0])
        if made is None:
            model.graph.node.append(node)
            continue
        model.graph.node.extend(made[0])
        for one in made[1]:  # the steps of a recurrent layer share their constants
            if one.name not in present:
                model.graph.initializer.append(one)
                present.add(one.name)
    _drop_unused(model)
    shrink(model, network.found)
    del model.graph.value_info[:]
    if network.found.tables and not wide:  # sums and products of recurrent layers have no weights
        wide = not _is_exact(model)
    return in_float64(model, network.found) if wide else model


def _is_exact(model: onnx.ModelProto) -> bool:
    """Return whether a graph is exact in its own precision."""
    rows = {
        value.name: np.zeros(
            [1, *(axis.dim_value for axis in value.type.tensor_type.shape.dim[1:])], np.float32
        )
        for value in model.graph.input
    }
    try:
        split_graph(model, rows)
    except ModelError:
        return False
    return True


def needs_float64(network: CompressedNetwork) -> bool:
    """Return whether a sum of a layer, in some order of summation, is too wide for float32; raise ModelError where that cannot be helped."""
    wide = False
    operators = {node.op_type for node in network.found.model.graph.node}
    narrow_only = sorted(operators & GRID_OPERATORS - FLOAT64_OPERATORS | operators & {"Conv"})
    narrow = f", and engines have no {narrow_only[0]} in float64" if narrow_only else ""
    for index, layer in enumerate(network.found.layers):
        with torch.no_grad():
            weight, bias = network.weight(index).double().numpy(), network.bias(index).double().numpy()
            low, high = network.source(index).limits
            largest = network.of_weights(index, torch.maximum(high, -low)).double().numpy()
            fraction = network.products_fraction(index).double().numpy()
        axes = tuple(axis for axis in range(weight.ndim) if axis != layer.outputs_axis)
        reach = ((np.abs(weight) * largest).sum(axes) + np.abs(bias)) * np.exp2(fraction)
        if reach.max(initial=0.0) < 2.0**FLOAT32_BITS:
            continue
        wide = True
        most = math.floor(math.log2(float(reach.max()))) + 1
        if narrow or most > FLOAT64_BITS:
            kind, bits = ("float32", FLOAT32_BITS) if narrow else ("float64", FLOAT64_BITS)
            raise ModelError(
                f"the layer {layer.name} sums to {most} bits with {network.widths.weights}-bit weights and inputs of "
                f"{format_of(network.source(index))}; {kind} adds exactly up to {bits} bits{narrow}: "
                f"take {most - bits} bits less, together, for --weights and --activations or --inputs"
            )
    return wide


Chain = tuple[list[onnx.NodeProto], list[onnx.TensorProto]]


def _chains(network: CompressedNetwork) -> dict[str, Chain]:
    """Return what stands in the place of each Identity, and of each function that is a table, by output."""
    result: dict[str, Chain] = {}
    by_point: dict[str, tuple[QuantisedTensor, TensorQuantiser]] = {}
    for tensor, quantiser in zip(network.found.tensors, network.tensor_quantisers, strict=True):
        if tensor.point is not None:
            by_point[tensor.point.name] = tensor, quantiser
        for place in tensor.places:
            writer = _ChainWriter(place[0], place[1], tensor.quantised)
            writer.round(quantiser)
            writer.to_units(quantiser)
            result[place[1]] = writer.nodes, writer.constants
    for function in network.found.tables:
        (argument, reads), (values, writes) = by_point[function.argument], by_point[function.result]
        table = function_table(function.operator, reads, writes)
        for (before, read), (computed, after) in zip(argument.places, values.places, strict=True):
            writer = _ChainWriter(before, read, argument.quantised)
            writer.round(reads)
            writer.look_up(reads, table, after, f"{function.result}/table")
            result[read] = [], []
            result[computed] = [], []
            result[after] = writer.nodes, writer.constants
    return result


def function_table(operator: str, reads: TensorQuantiser, writes: TensorQuantiser) -> np.ndarray:
    """Return the rounded values of a function for all values of its argument, from the lowest on."""
    with torch.no_grad():
        low, high = (float(limit) for limit in reads.limits)
        step, unit = (2.0 ** -float(one.fraction) for one in (reads, writes))
        least, most = (float(limit) for limit in writes.limits)
    argument = np.arange(round(low / step), round(high / step) + 1) * step
    exact = np.tanh(argument) if operator == "Tanh" else 1 / (1 + np.exp(-argument))
    rounded = np.floor(exact / unit + 0.5) * unit
    return np.asarray(np.clip(rounded, least, most), np.float32)


class _ChainWriter:
    """Writes a quantiser: multiply, round, limit, multiply."""

    def __init__(self, before: str, after: str, label: str) -> None:
        """`label` names the constants, which other chains of the same quantiser share."""
        self.current, self.after, self.label = before, after, label
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def step(self, operator: str, suffix: str, value: np.ndarray | None = None) -> None:
        """Append a node."""
        inputs, output = [self.current], f"{self.after}/{suffix}" if suffix else self.after
        if value is not None:
            same = value.size > 0 and np.all(value == value.flat[0])
            plain = np.asarray(value.flat[0] if same else value, np.float32)
            inputs.append(self._constant(plain, f"{suffix}/constant" if suffix else "constant"))
        self.nodes.append(helper.make_node(operator, inputs, [output]))
        self.current = output

    def _constant(self, value: np.ndarray, suffix: str) -> str:
        self.constants.append(numpy_helper.from_array(value, f"{self.label}/{suffix}"))
        return self.constants[-1].name

    def round(self, quantiser: TensorQuantiser) -> None:
        """Append everything up to integers within their limits."""
        with torch.no_grad():
            fraction, shift = quantiser.fraction.double().numpy(), quantiser.shift.double().numpy()
            offset = quantiser.offset_on_grid.double().numpy() * np.exp2(fraction)
            low, high = (limit.double().numpy() * np.exp2(fraction) for limit in quantiser.limits)
        self.step("Mul", "scaled", np.exp2(fraction - shift))
        if quantiser.is_input:
            self.step("Round", "rounded")
            if offset.any():
                self.step("Sub", "centred", offset)
        else:
            self.step("Add", "raised", np.asarray(0.5))
            self.step("Floor", "rounded")
        if np.all(low == low.flat[0]) and np.all(high == high.flat[0]):
            bounds = [
                self._constant(np.asarray(value.flat[0], np.float32), suffix)
                for suffix, value in (("low", low), ("high", high))
            ]
            limited = f"{self.after}/limited"
            self.nodes.append(helper.make_node("Clip", [self.current, *bounds], [limited]))
            self.current = limited
        else:
            self.step("Max", "above", low)
            self.step("Min", "limited", high)

    def to_units(self, quantiser: TensorQuantiser) -> None:
        """Append the product that makes numbers of the integers."""
        with torch.no_grad():
            self.step("Mul", "", np.exp2(-quantiser.fraction.double().numpy()))

    def look_up(self, quantiser: TensorQuantiser, table: np.ndarray, output: str, name: str) -> None:
        """Append the look-up of the integers in a table, whose first entry is that of the lowest; NaN stays NaN."""
        with torch.no_grad():
            lowest = float(quantiser.limits[0]) * 2.0 ** float(quantiser.fraction)
        self.step("Sub", "from_zero", np.asarray(lowest))
        missing, whole, index, found = (
            f"{self.after}/{name}" for name in ("missing", "whole", "index", "found")
        )
        ends = []
        for end, value in (("first", 0), ("last", len(table) - 1)):
            ends.append(f"{name}/{end}")
            self.constants.append(numpy_helper.from_array(np.array(value), ends[-1]))
        self.constants.append(numpy_helper.from_array(table, name))
        self.nodes += [
            helper.make_node("IsNaN", [self.current], [missing]),
            helper.make_node("Cast", [self.current], [whole], to=onnx.TensorProto.INT64),
            helper.make_node("Clip", [whole, *ends], [index]),
            helper.make_node("Gather", [name, index], [found]),
            helper.make_node("Where", [missing, self.current, found], [output]),
        ]


def _drop_unused(model: onnx.ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input} | {
        value.name for value in model.graph.output
    }
    kept = [one for one in model.graph.initializer if one.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
