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
from tamis.fixedpoint import FixedFormat
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
    chains = {
        tensor.quantised: _chain(tensor, quantiser)
        for tensor, quantiser in zip(network.found.tensors, network.tensor_quantisers, strict=True)
    }
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        made = chains.get(node.output[0])
        if made is None:
            model.graph.node.append(node)
        else:
            model.graph.node.extend(made[0])
            model.graph.initializer.extend(made[1])
    _drop_unused(model)
    shrink(model, network.found)
    del model.graph.value_info[:]
    return in_float64(model, network.found) if wide else model


def needs_float64(network: CompressedNetwork) -> bool:
    """Return whether a sum of a layer, in some order of summation, is too wide for float32; raise ModelError where that cannot be helped."""
    wide = False
    operators = {node.op_type for node in network.found.model.graph.node}
    narrow_only = sorted(operators & GRID_OPERATORS - FLOAT64_OPERATORS | operators & {"Conv"})
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
        if narrow_only or most > FLOAT64_BITS:
            kind, bits = ("float32", FLOAT32_BITS) if narrow_only else ("float64", FLOAT64_BITS)
            reason = f", and engines have no {narrow_only[0]} in float64" if narrow_only else ""
            raise ModelError(
                f"the layer {layer.name} sums to {most} bits with {network.widths.weights}-bit weights and inputs of "
                f"{format_of(network.source(index))}; {kind} adds exactly up to {bits} bits{reason}: "
                f"take {most - bits} bits less, together, for --weights and --activations or --inputs"
            )
    return wide


def _chain(
    tensor: QuantisedTensor, quantiser: TensorQuantiser
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Return the nodes of a quantiser and their constants: multiply, round, limit, multiply."""
    name, nodes, constants = tensor.quantised, list[onnx.NodeProto](), list[onnx.TensorProto]()
    with torch.no_grad():
        fraction, shift = quantiser.fraction.double().numpy(), quantiser.shift.double().numpy()
        offset = quantiser.offset_on_grid.double().numpy() * np.exp2(fraction)
        low, high = (limit.double().numpy() * np.exp2(fraction) for limit in quantiser.limits)
    current = tensor.tensor

    def step(operator: str, suffix: str, value: np.ndarray | None = None) -> None:
        nonlocal current
        inputs, output = [current], f"{name}/{suffix}" if suffix else name
        if value is not None:
            same = value.size > 0 and np.all(value == value.flat[0])
            constants.append(
                numpy_helper.from_array(
                    np.asarray(value.flat[0] if same else value, np.float32), f"{output}/constant"
                )
            )
            inputs.append(constants[-1].name)
        nodes.append(helper.make_node(operator, inputs, [output]))
        current = output

    step("Mul", "scaled", np.exp2(fraction - shift))
    if quantiser.is_input:
        step("Round", "rounded")
        if offset.any():
            step("Sub", "centred", offset)
    else:
        step("Add", "raised", np.asarray(0.5))
        step("Floor", "rounded")
    if np.all(low == low.flat[0]) and np.all(high == high.flat[0]):
        bounds = []
        for suffix, value in (("low", low), ("high", high)):
            constants.append(
                numpy_helper.from_array(np.asarray(value.flat[0], np.float32), f"{name}/{suffix}")
            )
            bounds.append(constants[-1].name)
        nodes.append(helper.make_node("Clip", [current, *bounds], [f"{name}/limited"]))
        current = f"{name}/limited"
    else:
        step("Max", "above", low)
        step("Min", "limited", high)
    step("Mul", "", np.exp2(-fraction))
    return nodes, constants


def _drop_unused(model: onnx.ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input} | {
        value.name for value in model.graph.output
    }
    kept = [one for one in model.graph.initializer if one.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
