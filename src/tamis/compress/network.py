"""The trainable form of a graph: its layers with masks and quantisers, everything else as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper
from torch import Tensor, nn

from tamis.compress.graph import LayeredModel, heads
from tamis.compress.quantisers import WIDTH_STEP, TensorQuantiser, WeightQuantiser, power, round_to
from tamis.engines.torch import translate

RANGE_QUANTILE = 1e-4  # of the values of a tensor that may saturate at each end
INPUT_OFFSET_STEP = 32.0  # offsets of inputs are multiples of this fraction of their scale
RANGE_ROWS = 4096
WIDTH_STEP_MAX = 50.0


@dataclass(frozen=True)
class Widths:
    """The bits of weights, activations and inputs, with their signs; whether training may use fewer, and for which groups."""

    weights: int = 8
    activations: int = 8
    inputs: int = 8
    per: str = "tensor"
    trained: bool = False


class CompressedNetwork(nn.Module):
    """The network in training: returns the outputs of the graph, then the logits of its softmaxes and sigmoids."""

    def __init__(self, found: LayeredModel, inputs: Sequence[np.ndarray], widths: Widths) -> None:
        """Begin with the weights of the graph and without quantisation; `inputs` are rows to fix the ranges."""
        super().__init__()
        self.found, self.widths = found, widths
        self.heads = tuple(heads(found.model))
        self.output_names = [value.name for value in found.model.graph.output]
        arrays = found.arrays
        shapes, ranges, centres = self._observe(inputs)
        self.positions = [layer.uses * max(1, int(np.prod(shapes[layer.output][1:], dtype=np.int64)) // self._outputs(arrays, n)) for n, layer in enumerate(found.layers)]  # fmt: skip
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layer in found.layers:
            weight = torch.tensor(arrays[layer.weight])
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.tensor(arrays[layer.bias].reshape(-1))))
            self.register_buffer(f"mask_{len(self.weights) - 1}", torch.ones_like(weight))
            self.register_buffer(f"scale_{len(self.weights) - 1}", torch.ones_like(weight))
            self.register_buffer(
                f"bias_mask_{len(self.weights) - 1}", torch.ones(self._outputs(arrays, len(self.weights) - 1))
            )
        self.tensors = nn.ModuleList()
        for tensor in found.tensors:
            axes = self._channel_axes(tensor, shapes[tensor.tensor], arrays)
            of_channels = tensor.point is None or tensor.point.of_channels
            by_channel = (tensor.is_input or widths.trained) and of_channels
            shape = tuple(
                size if axis in axes and by_channel else 1
                for axis, size in enumerate(shapes[tensor.tensor][1:])
            )
            quantiser = TensorQuantiser(
                shape,
                (widths.inputs if tensor.is_input else widths.activations)
                + (tensor.point.more_bits if tensor.point else 0),
                signed=tensor.is_input or not tensor.non_negative,
                is_input=tensor.is_input,
                trained=widths.trained and bool(tensor.layers),
                most_reach=tensor.point.most_reach if tensor.point else None,
            )
            self.tensors.append(quantiser)
            if tensor.is_input:
                centre = centres[tensor.tensor] if widths.trained else None
                self._scale_inputs(quantiser, tensor, *ranges[tensor.tensor], centre)
        self.quantisers = nn.ModuleList(
            WeightQuantiser(
                self.masked(number).detach(),
                widths.weights,
                widths.per,
                layer.outputs_axis,
                trained=widths.trained,
            )
            for number, layer in enumerate(found.layers)
        )
        self._graph = (translate(self._tapped(), self._taps()),)  # a tuple hides it from the module tree

    def mask(self, layer: int) -> Tensor:
        """Return the mask of a layer's weights: 0 where one was removed."""
        mask: Tensor = getattr(self, f"mask_{layer}")
        return mask

    def bias_mask(self, layer: int) -> Tensor:
        """Return the mask of a layer's outputs: 0 where a whole one was removed."""
        mask: Tensor = getattr(self, f"bias_mask_{layer}")
        return mask

    def masked(self, layer: int) -> Tensor:
        """Return the weights of a layer before they are quantised, for inputs that are scaled to about -1 to 1.

        Half of the scale of an input is left out of what is trained: the weights of inputs with long tails are large, and would learn slowly.
        """
        scale: Tensor = getattr(self, f"scale_{layer}")
        return self.weights[layer] * (scale * self.mask(layer))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the graph, then the logits of its heads."""
        results: tuple[Tensor, ...] = self._graph[0](*inputs)
        return results

    def weight(self, layer: int) -> Tensor:
        """Return the weights of a layer as they are used: masked and quantised."""
        quantised: Tensor = self.quantisers[layer](self.masked(layer))
        return quantised

    def bias(self, layer: int) -> Tensor:
        """Return the bias of a layer on the grid of its products, so that adding it is exact."""
        bias = self.biases[layer] * self.bias_mask(layer)
        if not self.quantisers[layer].enabled:
            return bias
        return round_to(bias, self.products_fraction(layer))

    @torch.no_grad()
    def products_fraction(self, layer: int) -> Tensor:
        """Return the fraction bits of the products of every output of a layer."""
        spec = self.found.layers[layer]
        weight = self.weight(layer)
        axes = tuple(axis for axis in range(weight.ndim) if axis != spec.outputs_axis)
        weights, values = fraction_of(weight), self.of_weights(layer, self.source(layer).fraction)
        terms = torch.where(weight != 0, weights + values, torch.full((), -60.0))
        found = terms.amax(axes)
        return torch.where(found < -50, torch.zeros(()), found)  # all weights were removed

    def set_width_step(self, bits: float) -> None:
        """Set the bits for each unit of the trained widths, within bounds."""
        for quantiser in (*self.quantisers, *self.tensors):
            quantiser.width_step = min(max(bits, WIDTH_STEP), WIDTH_STEP_MAX)

    def dense_macs(self) -> int:
        """Return the products of the layers if no weight is removed."""
        return sum(
            weight.numel() * positions for weight, positions in zip(self.weights, self.positions, strict=True)
        )

    def ebops(self) -> Tensor:
        """Return the bit operations of all layers, with gradients of the widths."""
        total = torch.zeros(())
        for index, positions in enumerate(self.positions):
            bits = self.quantisers[index].bits(self.masked(index)) * self.mask(index)  # type: ignore[operator] # the method of the class
            total = total + (bits * self.of_weights(index, self.source(index).bits)).sum() * positions
        return total

    def of_weights(self, layer: int, values: Tensor) -> Tensor:
        """Return values of the channels that a layer reads in a shape that broadcasts against its weights."""
        spec = self.found.layers[layer]
        if spec.operator == "Conv":
            if spec.groups != 1:
                return values.amax()
            return values[None]
        values = (
            values.reshape(-1) if values.numel() > 1 and values.shape[-1] == values.numel() else values.amax()
        )
        return values if values.ndim == 0 or spec.outputs_axis == 0 else values[:, None]

    def source(self, layer: int) -> TensorQuantiser:
        """Return the quantiser of the tensor that a layer reads."""
        name = self.found.layers[layer].data
        index = next(i for i, tensor in enumerate(self.found.tensors) if tensor.quantised == name)
        return self.tensor_quantisers[index]

    @property
    def tensor_quantisers(self) -> list[TensorQuantiser]:
        """The quantisers of the tensors that enter layers."""
        return [quantiser for quantiser in self.tensors if isinstance(quantiser, TensorQuantiser)]

    @torch.no_grad()
    def enable(self, inputs: Sequence[np.ndarray]) -> None:
        """Begin to quantise, with ranges that fit the current weights and these rows."""
        for index, quantiser in enumerate(self.quantisers):
            quantiser.enable(self.masked(index))  # type: ignore[operator] # the method of the class
        self._fit_ranges(inputs, TensorQuantiser.enable)

    @torch.no_grad()
    def adapt(self, inputs: Sequence[np.ndarray]) -> None:
        """Let the ranges of activations follow the weights, which training has changed; their steps stay."""
        self._fit_ranges(inputs, TensorQuantiser.adapt)

    def _fit_ranges(
        self, inputs: Sequence[np.ndarray], fit: Callable[[TensorQuantiser, Tensor, Tensor], None]
    ) -> None:
        """Fit every quantiser to the values that reach it, so that later ones see it at work; one of several steps to those so far."""
        seen: dict[int, tuple[Tensor, Tensor]] = {}

        def hook(module: nn.Module, arguments: tuple[Tensor, ...], result: Tensor) -> Tensor:
            del result
            assert isinstance(module, TensorQuantiser)  # noqa: S101 - what it is registered with
            low, high = _channel_range(arguments[0], tuple(module.reach.shape))
            before = seen.get(id(module), (low, high))
            seen[id(module)] = torch.minimum(low, before[0]), torch.maximum(high, before[1])
            fit(module, *seen[id(module)])
            quantised: Tensor = module.forward(arguments[0])
            return quantised

        handles = [module.register_forward_hook(hook) for module in self.tensors]
        self(*(torch.from_numpy(values[:RANGE_ROWS]) for values in inputs))
        for handle in handles:
            handle.remove()

    def _observe(
        self, inputs: Sequence[np.ndarray]
    ) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[Tensor, Tensor]], dict[str, Tensor]]:
        """Return the shapes of the layers' tensors on some rows, and range and median of the channels of each input."""
        model = onnx.ModelProto()
        model.CopyFrom(self.found.model)
        names = list(
            dict.fromkeys([t.tensor for t in self.found.tensors] + [x.output for x in self.found.layers])
        )
        del model.graph.output[:]
        model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
        with torch.no_grad():
            values = translate(model)(*(torch.from_numpy(one[:RANGE_ROWS]) for one in inputs))
        found = dict(zip(names, values, strict=True))
        ranges = {
            one.tensor: _channel_range(found[one.tensor], tuple(found[one.tensor].shape[1:]))
            for one in self.found.tensors
            if one.is_input
        }
        medians = {name: found[name].float().median(0).values for name in ranges}
        return {name: tuple(value.shape) for name, value in found.items()}, ranges, medians

    def _outputs(self, arrays: Mapping[str, np.ndarray], layer: int) -> int:
        spec = self.found.layers[layer]
        return int(arrays[spec.weight].shape[spec.outputs_axis])

    def _channel_axes(
        self, tensor: Any, shape: tuple[int, ...], arrays: Mapping[str, np.ndarray]
    ) -> set[int]:
        """Return the axes (without the batch) along which every index can have a scale of its own."""
        axes = set(range(len(shape) - 1))
        for index in tensor.layers:
            layer = self.found.layers[index]
            if layer.operator != "Conv":
                axes &= {len(shape) - 2}
                continue
            kernel, pads = arrays[layer.weight].shape[2:], self._pads(layer.output, layer.weight)
            whole_axes = {1 + i for i, size in enumerate(kernel) if size == shape[2 + i] and not any(pads)}
            axes &= ({0} | whole_axes) if layer.groups == 1 else set()
        return axes

    def _pads(self, output: str, weight: str) -> list[int]:
        """Return the padding of the convolution with these weights."""
        del output
        node = next(node for node in self.found.model.graph.node if weight in node.input)
        if any(a.name == "auto_pad" and a.s not in (b"NOTSET", b"VALID") for a in node.attribute):
            return [1]
        return next((list(a.ints) for a in node.attribute if a.name == "pads"), [0])

    @torch.no_grad()
    def _scale_inputs(
        self, quantiser: TensorQuantiser, tensor: Any, low: Tensor, high: Tensor, median: Tensor | None
    ) -> None:
        """Scale the channels of an input to about -1 to 1, and the weights of the layers that read it by the inverse.

        With a median, channels are centred there, since training may let the tails saturate.
        """
        shape = quantiser.shift.shape
        low, high = _reduced(low, shape, torch.amin), _reduced(high, shape, torch.amax)
        layers = [self.found.layers[index] for index in tensor.layers]
        padded = any(
            layer.operator == "Conv" and any(self._pads(layer.output, layer.weight)) for layer in layers
        )
        middle = (low + high) / 2 if median is None else _reduced(median, shape, torch.mean)
        centre = torch.zeros_like(low) if padded else middle
        half = torch.maximum(high - centre, centre - low)
        half = torch.where(half > 0, half, centre.abs().clamp(min=2.0**-60))
        quantiser.shift.copy_(torch.ceil(torch.log2(half)))
        scaled = centre * power(-quantiser.shift)
        quantiser.offset.copy_(torch.round(scaled * INPUT_OFFSET_STEP) / INPUT_OFFSET_STEP)
        for index, layer in zip(tensor.layers, layers, strict=True):
            scale = self.of_weights(index, quantiser.shift)
            part = torch.floor(scale / 2)
            getattr(self, f"scale_{index}").mul_(power(part))
            self.weights[index].copy_(self.weights[index] * power(scale - part))
            shifted = self.masked(index) * self.of_weights(index, quantiser.offset)
            axes = [axis for axis in range(shifted.ndim) if axis != layer.outputs_axis]
            self.biases[index].add_(shifted.sum(axes))

    def _tapped(self) -> onnx.ModelProto:
        """Return the graph with the logits as further outputs."""
        model = onnx.ModelProto()
        model.CopyFrom(self.found.model)
        model.graph.output.extend(helper.make_empty_tensor_value_info(logits) for _, _, logits in self.heads)
        return model

    def _taps(self) -> dict[str, Any]:
        taps: dict[str, Any] = {}
        for index, layer in enumerate(self.found.layers):
            taps[layer.weight] = lambda _, index=index: self.weight(index)
            shape = self.found.arrays[layer.bias].shape
            taps[layer.bias] = lambda _, index=index, shape=shape: self.bias(index).reshape(shape)
        for tensor, quantiser in zip(self.found.tensors, self.tensors, strict=True):
            for _, after in tensor.places:
                taps[after] = lambda values, quantiser=quantiser: quantiser(values)
        return taps


def fraction_of(values: Tensor) -> Tensor:
    """Return the fraction bits that each value needs; very few for zero."""
    mantissa, exponent = torch.frexp(values.double())
    integers = torch.ldexp(mantissa, torch.tensor(53)).abs().long()
    lowest = torch.where(integers == 0, 1, integers & -integers)
    trailing = torch.frexp(lowest.double())[1] - 1
    return torch.where(integers == 0, -60, 53 - exponent - trailing).to(values.dtype)


def _channel_range(values: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return the range of the channels, apart from a few extreme values; `shape` says along which axes channels differ."""
    axes = [axis + 1 for axis, size in enumerate(shape) if size != 1]
    others = [axis for axis in range(values.ndim) if axis not in axes]
    flat = values.permute(*axes, *others).reshape(*(values.shape[axis] for axis in axes), -1).float()
    few = max(0, int(flat.shape[-1] * RANGE_QUANTILE))
    ordered = flat.sort(-1).values
    low, high = ordered[..., few], ordered[..., flat.shape[-1] - 1 - few]
    return low.reshape(shape), high.reshape(shape)


def _reduced(values: Tensor, shape: torch.Size, function: Any) -> Tensor:
    axes = [axis for axis, size in enumerate(shape) if size == 1 and values.shape[axis] != 1]
    reduced: Tensor = function(values, axes, keepdim=True) if axes else values
    return reduced
