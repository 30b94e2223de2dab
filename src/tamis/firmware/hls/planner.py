"""Plan an hls4ml project: every node of the quantised part of a graph as a layer with explicit types, or an error that names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tamis._base import ModelError
from tamis.firmware.hls.chains import Conversion, HlsChain, Inexpressible, convert
from tamis.firmware.hls.layers import (
    HlsLayer,
    HlsPlan,
    HlsPort,
    HlsTensor,
    format_of_range,
    format_of_values,
    plain_name,
    smallest_format,
)
from tamis.fixedpoint import (
    FixedFormat,
    FixedGrid,
    QuantisedGraph,
    Step,
    TranslatedNode,
    fraction_bits,
    grids,
)
from tamis.fixedpoint.grids import FRACTION_OF_ZERO
from tamis.fixedpoint.program import Add, Clip, LookUp, Maximum, Multiply, Offset, Round, Scale, Wrap

CHAINED_STEPS = (Scale, Offset, Round, Clip, Wrap, LookUp, Add, Multiply, Maximum)
MERGES = {Add: "add", Multiply: "multiply", Maximum: "maximum"}
TABLE_BITS_MAX = 12


@dataclass(frozen=True)
class ChainStart:
    """Where a chain begins: a tensor of the project, an input, or a layer with weights that is not placed yet."""

    value: int  # of the program
    tensor: HlsTensor | None = None
    weighted: WeightedLayer | None = None


@dataclass(frozen=True, eq=False)
class WeightedLayer:
    """A dense layer or a convolution: outputs are its last axis; placed when what follows it is known."""

    kind: str
    layer: str
    inputs: tuple[str, ...]
    attributes: dict[str, Any]
    weights: np.ndarray  # outputs last
    largest: np.ndarray  # magnitude of what each weight multiplies, without outputs
    fractions: np.ndarray  # of the same
    shape: tuple[int, ...]  # of the result, outputs last
    order: tuple[int, ...]

    def per_output(self, array: np.ndarray) -> np.ndarray:
        """Return an array of the result's shape as (places, outputs)."""
        return np.transpose(array, self.order).reshape(-1, self.shape[-1])

    def takes(self, gain: np.ndarray, bias: np.ndarray) -> bool:
        """Return whether a factor and a term are the same at every place of an output."""
        return all((one == one[:1]).all() for one in map(self.per_output, (gain, bias)))


class Planner:
    """Walks over the translated nodes; chains of elementwise steps are kept back until a layer reads their result."""

    def __init__(self, graph: QuantisedGraph) -> None:
        """Take the graph and the range of every value of its program."""
        self.graph, self.program = graph, graph.program
        self.count = len(self.program.inputs)
        self.ranges = grids(self.program)
        self.layers: list[HlsLayer] = []
        self.names: set[str] = set()
        self.states: dict[int, tuple[ChainStart, HlsChain]] = {}
        self.placed: dict[int, HlsTensor] = {}
        self.inputs: dict[int, tuple[HlsTensor, HlsChain, HlsPort]] = {}
        self.layer = "inputs"

    def plan(self, structures: Mapping[str, Structure]) -> HlsPlan:
        """Return the layers of the project; `structures` places the operators that are not elementwise."""
        for value, one in enumerate(self.program.inputs):
            self.states[value] = ChainStart(value), HlsChain.empty(one.shape)
        needed = self._needed()
        try:
            for node in self.graph.nodes:
                if needed.intersection(node.results):
                    self._node(node, structures)
            outputs = [self._output(value) for value in dict.fromkeys(self.program.outputs)]
        except Inexpressible as reason:
            raise ModelError(
                f"hls4ml cannot express the layer {self.layer}: {reason}; make its hardware with `tamis firmware`, "
                "or compress the model with other formats (--per tensor)"
            ) from reason
        ports = tuple(self.inputs[value][2] for value in sorted(self.inputs))
        return HlsPlan(tuple(self.layers), ports, tuple(outputs))

    def _node(self, node: TranslatedNode, structures: Mapping[str, Structure]) -> None:
        """Place what a node cannot keep back, and put its elementwise steps into chains."""
        self.layer, done = node.layer, -1
        steps = [self.program.steps[index] for index in node.steps]
        if not all(isinstance(step, CHAINED_STEPS) for step in steps):
            done = structures.get(node.node.op_type, _unknown)(self, node)
        for index, step in zip(node.steps, steps, strict=True):
            if self.count + index > done:
                self._step(self.count + index, step)

    def _needed(self) -> set[int]:
        """Return the values that the outputs depend on."""
        needed = set(self.program.outputs)
        for index in range(len(self.program.steps) - 1, -1, -1):
            if self.count + index in needed:
                needed.update(self.program.steps[index].inputs)
        return needed

    def _step(self, value: int, step: Step) -> None:
        """Put an elementwise step into the chain of its input, or place a layer for it."""
        if type(step) in MERGES:
            self._merge(value, step)
            return
        if isinstance(step, LookUp):
            self._look_up(value, step)
            return
        (before,) = step.inputs
        source, chain = self.states[before]
        longer = chain.extended(step, self.ranges[before])
        if longer is None:
            source, chain = ChainStart(before, self.place(before)), HlsChain.empty(self.program.shape(before))
            longer = chain.extended(step, self.ranges[before])
            if longer is None:
                raise Inexpressible(
                    f"it has a {type(step).__name__.lower()} by zero or of a sign that it has no type for"
                )
        self.states[value] = source, longer

    def _merge(self, value: int, step: Step) -> None:
        first, second = (self.place(one) for one in step.inputs)
        if first.order != second.order:
            second = self.reordered(second, first.order)
        attributes = {"op": MERGES[type(step)]}
        name = self.add(
            "Merge", attributes["op"], (first.name, second.name), attributes, {"result": self.format(value)}
        )
        self.finish(value, HlsTensor(name, first.shape, first.order))

    def _look_up(self, value: int, step: LookUp) -> None:
        (before,) = step.inputs
        tensor = self.place(before)
        kind = self.type_of(tensor)
        if kind.fraction or np.max(kind.width) > TABLE_BITS_MAX:
            raise Inexpressible(
                f"its table would have an index of the type {kind}, and has to have integers of at most {TABLE_BITS_MAX} bits"
            )
        codes = np.arange(2 ** int(kind.width))
        numbers = (
            np.where(codes >= 2 ** (int(kind.width) - 1), codes - len(codes), codes) if kind.signed else codes
        )
        table = step.table[np.clip(numbers - step.low, 0, len(step.table) - 1)]
        name = self.add(
            "UnaryLUT",
            "table",
            (tensor.name,),
            {"activation": "unary_lut"},
            {"result": self.format(value), "table": format_of_values(table)},
            {"table": table},
        )
        self.finish(value, HlsTensor(name, tensor.shape, tensor.order))

    def format(self, value: int) -> FixedFormat:
        """Return the type that holds every element of a value of the program."""
        return format_of_range(self.ranges[value])

    def type_of(self, tensor: HlsTensor) -> FixedFormat:
        """Return the type of a tensor."""
        return next(one for one in self.layers if one.name == tensor.name).types["result"]

    def add(
        self,
        kind: str,
        suffix: str,
        inputs: Sequence[str],
        attributes: dict[str, Any],
        types: dict[str, FixedFormat],
        arrays: dict[str, np.ndarray] | None = None,
    ) -> str:
        """Append a layer and return its name."""
        name = plain_name(f"{self.layer}_{suffix}" if suffix else self.layer, self.names)
        self.names.add(name)
        self.layers.append(HlsLayer(kind, name, self.layer, tuple(inputs), attributes, types, arrays or {}))
        return name

    def finish(self, value: int, tensor: HlsTensor) -> None:
        """Note that a tensor of the project is a value of the program."""
        self.placed[value] = tensor
        self.states[value] = ChainStart(value, tensor), HlsChain.empty(self.program.shape(value))

    def place(self, value: int) -> HlsTensor:
        """Return the tensor of a value of the program; its layers are placed now if they were not before."""
        if value not in self.placed:
            if value >= self.count:
                self.layer, kept = self.program.steps[value - self.count].layer, self.layer
            source, chain = self.states[value]
            try:
                tensor = self._place(source, chain, value)
            except Inexpressible:
                tensor = self._place_parts(source, value)
            self.placed[value] = tensor
            if value >= self.count:
                self.layer = kept
        return self.placed[value]

    def _place(self, source: ChainStart, chain: HlsChain, value: int) -> HlsTensor:
        if source.tensor is None and source.weighted is None:
            return self._place_input(source.value, chain, value)
        return self._place_chain(source, convert(chain, self.ranges[source.value]), value)

    def _place_parts(self, source: ChainStart, value: int) -> HlsTensor:
        """Place a chain as two conversions where one is not enough."""
        path = [value]
        while path[-1] != source.value:
            path.append(self.program.steps[path[-1] - self.count].inputs[0])
        for place in range(1, len(path) - 1):
            middle, rest = path[place], self._rest(path[: place + 1])
            try:
                convert(self.states[middle][1], self.ranges[source.value])
                conversion = None if rest is None else convert(rest, self.ranges[middle])
            except Inexpressible:
                continue
            if conversion is not None:
                return self._place_chain(ChainStart(middle, self.place(middle)), conversion, value)
        convert(self.states[value][1], self.ranges[source.value])  # raises with the reason
        raise Inexpressible("its steps do not fit together")

    def _rest(self, path: Sequence[int]) -> HlsChain | None:
        """Return the chain from the last value of a path to its first."""
        rest: HlsChain | None = HlsChain.empty(self.program.shape(path[-1]))
        for later in reversed(path[:-1]):
            step = self.program.steps[later - self.count]
            rest = None if rest is None else rest.extended(step, self.ranges[step.inputs[0]])
        return rest

    def _place_input(self, source: int, chain: HlsChain, value: int) -> HlsTensor:
        """Return an input; the factors and terms that come first are the caller's, as they only move the binary point."""
        ranges = self.ranges[source]
        if source not in self.inputs:
            absorbed = chain.is_affine and (chain.gain > 0).all()
            own = chain if absorbed else HlsChain.empty(chain.gain.shape)
            port_value = value if absorbed else source
            kind = self.format(port_value)
            shape = self.program.shape(source) or (1,)
            self.layer, kept = self.program.inputs[source].tensor, self.layer
            name = self.add("Input", "", (), {"input_shape": list(shape)}, {"result": kind})
            self.layer = kept
            tensor = HlsTensor(name, shape, tuple(range(len(shape))))
            self.inputs[source] = (
                tensor,
                own,
                HlsPort(name, port_value, shape, kind, self.program.inputs[source].tensor),
            )
            if absorbed:
                return tensor
        tensor, own, port = self.inputs[source]
        gain = chain.gain / own.gain
        rest = replace(chain, gain=gain, shift=chain.shift - gain * own.shift)
        start = FixedGrid(*_affine(own, ranges))
        return self._place_chain(ChainStart(port.value, tensor), convert(rest, start), value)

    def _place_chain(self, source: ChainStart, conversion: Conversion, value: int) -> HlsTensor:
        """Place the layers of a chain."""
        gain, bias = conversion.gain, conversion.bias
        if source.weighted is not None and not source.weighted.takes(gain, bias):
            source = ChainStart(
                source.value,
                self._place_weighted(
                    source.weighted, np.ones_like(gain), 0 * bias, self.format(source.value)
                ),
            )
        final = self.format(value) if conversion.scale is None else _hull(conversion)
        exact = smallest_format(*_affine_range(gain, bias, self.ranges[source.value]))
        assigned = None if conversion.is_exact else conversion.uniform
        fused = final if conversion.is_exact else exact
        if assigned and not conversion.is_relu:
            fused = _format(assigned, conversion.rounding)
        if source.weighted is not None:
            tensor = self._place_weighted(source.weighted, gain, bias, fused)
        elif source.tensor is None:
            raise ModelError("a chain without a source")
        elif (gain == 1).all() and (bias == 0).all():
            tensor = source.tensor
            if assigned and not conversion.is_relu:
                tensor = self._activation("linear", tensor, fused)
        else:
            tensor = self._affine(source.tensor, gain, bias, fused)
        if not conversion.is_exact and conversion.is_relu and assigned:
            overflow = "SAT" if conversion.limits_above else "WRAP"
            tensor = self._activation("relu", tensor, _format((*assigned[:3], overflow), conversion.rounding))
        elif not conversion.is_exact and not assigned:
            tensor = self._quantiser(tensor, conversion, final)
        if conversion.scale is not None and conversion.offset is not None:
            tensor = self._affine(tensor, conversion.scale, conversion.offset, self.format(value))
        return tensor

    def _activation(self, function: str, tensor: HlsTensor, kind: FixedFormat) -> HlsTensor:
        size = int(np.prod(tensor.shape))
        suffix = "relu" if function == "relu" else "quantiser"
        attributes = {"activation": function, "n_in": size}
        name = self.add("Activation", suffix, (tensor.name,), attributes, {"result": kind})
        return HlsTensor(name, tensor.shape, tensor.order)

    def _affine(self, tensor: HlsTensor, gain: np.ndarray, bias: np.ndarray, kind: FixedFormat) -> HlsTensor:
        """Place a layer that multiplies and adds, element by element or channel by channel."""
        last = tensor.shape[-1] if tensor.shape else 1
        factors, terms = (tensor.arranged(part).reshape(-1, last) for part in (gain, bias))
        same = (factors == factors[:1]).all() and (terms == terms[:1]).all()
        channels = last if same and len(tensor.shape) > 1 else -1
        arrays = {
            "scale": factors[0] if channels > 0 else factors.ravel(),
            "bias": terms[0] if channels > 0 else terms.ravel(),
        }
        types = {"result": kind} | {name: format_of_values(array) for name, array in arrays.items()}
        size = int(np.prod(tensor.shape))
        attributes = {"n_in": size, "n_filt": channels}
        name = self.add("BatchNormalization", "scale", (tensor.name,), attributes, types, arrays)
        return HlsTensor(name, tensor.shape, tensor.order)

    def _quantiser(self, tensor: HlsTensor, conversion: Conversion, kind: FixedFormat) -> HlsTensor:
        """Place a layer whose elements have types of their own."""
        parts = (conversion.signed.astype(np.int64), conversion.width, conversion.integer)
        mask = tuple(tensor.arranged(part)[None] for part in parts)
        attributes = {
            "mask_kbi": mask,
            "RND": conversion.rounding or "TRN",
            "SAT": conversion.overflow,
            "overrides": {},
            "fusible": False,
        }
        name = self.add("FixedPointQuantizer", "quantiser", (tensor.name,), attributes, {"result": kind})
        return HlsTensor(name, tensor.shape, tensor.order)

    def _place_weighted(
        self, layer: WeightedLayer, gain: np.ndarray, bias: np.ndarray, kind: FixedFormat
    ) -> HlsTensor:
        """Place a layer with weights, with the factor and the term of each output inside."""
        factors, terms = layer.per_output(gain)[0], layer.per_output(bias)[0]
        weights, biases = layer.weights * factors, terms
        fraction = np.where(
            weights == 0, FRACTION_OF_ZERO, layer.fractions[..., None] + fraction_bits(weights)
        ).max(initial=int(fraction_bits(biases).max(initial=FRACTION_OF_ZERO)))
        reach = (np.abs(weights) * layer.largest[..., None]).reshape(-1, weights.shape[-1]).sum(0) + np.abs(
            biases
        )
        accumulator = smallest_format(-reach, reach, np.asarray(fraction))
        self.layer, kept = layer.layer, self.layer
        name = self.add(
            layer.kind,
            "",
            layer.inputs,
            layer.attributes,
            {
                "result": kind,
                "weight": format_of_values(weights),
                "bias": format_of_values(biases),
                "accum": accumulator,
            },
            {"weight": weights, "bias": biases},
        )
        self.layer = kept
        return HlsTensor(name, layer.shape, layer.order)

    def reordered(self, tensor: HlsTensor, order: tuple[int, ...]) -> HlsTensor:
        """Return a tensor with its axes in another order."""
        if tensor.order == order:
            return tensor
        permutation = [tensor.order.index(axis) for axis in order]
        shape = tuple(tensor.shape[axis] for axis in permutation)
        name = self.add(
            "Transpose",
            "transpose",
            (tensor.name,),
            {"perm": permutation},
            {"result": plain(self.type_of(tensor))},
        )
        return HlsTensor(name, shape, order)

    def natural(self, value: int) -> HlsTensor:
        """Return the tensor of a value with the axes in the order of ONNX."""
        tensor = self.place(value)
        return self.reordered(tensor, tuple(range(len(tensor.shape))))

    def _output(self, value: int) -> HlsPort:
        self.layer = self.program.steps[value - self.count].layer if value >= self.count else "inputs"
        tensor = self.natural(value)
        return HlsPort(tensor.name, value, tensor.shape, self.type_of(tensor))


def plain(kind: FixedFormat) -> FixedFormat:
    """Return the type of the same numbers that neither rounds nor saturates."""
    return FixedFormat(kind.width, kind.integer, kind.signed)


def _format(kind: tuple[bool, int, int, str], rounding: str) -> FixedFormat:
    signed, width, integer, overflow = kind
    return FixedFormat(width, integer, signed, rounding or "TRN", overflow)


def _hull(conversion: Conversion) -> FixedFormat:
    """Return a type that holds the types of all elements."""
    fraction = int((conversion.width - conversion.integer).max(initial=0))
    signed = bool(conversion.signed.any())
    whole = int((conversion.integer + (signed & ~conversion.signed)).max(initial=1))
    width = max(whole + fraction, 1 + signed)
    return FixedFormat(width, width - fraction, signed)


def _affine(chain: HlsChain, ranges: FixedGrid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return _affine_range(chain.gain, chain.shift, ranges)


def _affine_range(
    gain: np.ndarray, bias: np.ndarray, ranges: FixedGrid
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return low, high and fraction of `gain * x + bias`."""
    ends = ranges.low * gain + bias, ranges.high * gain + bias
    fraction = np.maximum(ranges.fraction + fraction_bits(gain), fraction_bits(bias))
    return np.minimum(*ends), np.maximum(*ends), fraction


def _unknown(planner: Planner, node: TranslatedNode) -> int:
    del planner
    raise Inexpressible(f"it has no layer for {node.node.op_type}")


Structure = Callable[
    [Planner, TranslatedNode], int
]  # places a node, and returns the last value of the program that is done
