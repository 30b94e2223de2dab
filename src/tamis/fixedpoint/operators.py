"""ONNX operators as steps of a program, one function each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, Protocol

import numpy as np
import onnx
from onnx import helper

from tamis.bundle.reference import evaluate_node
from tamis.fixedpoint.grids import Grid
from tamis.fixedpoint.program import (
    Add,
    Clip,
    Forest,
    Linear,
    LookUp,
    Maximum,
    Multiply,
    Offset,
    Round,
    Rounding,
    Scale,
    Shape,
    Step,
    Take,
    Trees,
)


class Inexact(Exception):  # noqa: N818 - it says why a node stays outside the program, and never leaves the package
    """A node that has no exact fixed-point form, with the reason."""


class Builder(Protocol):
    """What operators need of the translation of a graph."""

    model: onnx.ModelProto
    constants: dict[str, np.ndarray]
    core: dict[str, int]

    def append(self, step: Step) -> int:
        """Append a step and return its value."""

    def range_of(self, value: int) -> Grid:
        """Return the range of a value."""


class Operands:
    """A node's inputs and attributes, and the steps that it becomes."""

    def __init__(self, builder: Builder, node: onnx.NodeProto, layer: str) -> None:
        """Look at one node."""
        self.builder, self.node, self.layer = builder, node, layer
        self.attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        self.constants = [builder.constants.get(name) if name else None for name in node.input]
        self.values = [builder.core.get(name) if name else None for name in node.input]

    def shape(self, value: int) -> Shape:
        """Return a value's shape without the batch."""
        return self.builder.range_of(value).low.shape

    def constant(self, index: int, what: str) -> np.ndarray:
        """Return an input that has to be constant."""
        if index >= len(self.constants) or self.constants[index] is None:
            raise Inexact(f"{what} is not constant")
        return np.asarray(self.constants[index])

    def value(self, index: int = 0) -> int:
        """Return an input that has to be a value of the program."""
        value = self.values[index] if index < len(self.values) else None
        if value is None:
            raise Inexact(f"input {index} is constant")
        return value

    def value_and_constant(self) -> tuple[int, np.ndarray]:
        """Return the two inputs of a commutative operator of which one is constant."""
        place = 0 if self.values[0] is not None else 1
        return self.value(place), self.constant(1 - place, "one input")

    def step(
        self, kind: Callable[..., Step], inputs: Sequence[int], shape: Sequence[int], *fields: Any
    ) -> int:
        """Append a step."""
        return self.builder.append(kind(self.layer, tuple(inputs), tuple(shape), *fields))

    def take(self, values: Sequence[int], indices: np.ndarray, fill: float = 0.0) -> int:
        """Gather elements, unless this changes nothing."""
        same = len(values) == 1 and indices.shape == self.shape(values[0])
        if same and np.array_equal(indices.ravel(), np.arange(indices.size)):
            return values[0]
        return self.step(Take, values, indices.shape, indices, fill)

    def places(self, value: int) -> np.ndarray:
        """Return the indices of a value's elements, in its shape."""
        shape = self.shape(value)
        return np.arange(int(np.prod(shape))).reshape(shape)

    def broadcast(self, value: int, shape: Shape) -> int:
        """Repeat a value to a shape."""
        return self.take([value], np.broadcast_to(self.places(value), shape))

    def linear(self, value: int, matrix: np.ndarray) -> int:
        """Multiply the last axis by a matrix."""
        matrix = finite(matrix)
        return self.step(Linear, [value], (*self.shape(value)[:-1], matrix.shape[1]), matrix)

    def scale(self, value: int, factors: np.ndarray) -> int:
        """Multiply by constants that broadcast to the value."""
        shape = np.broadcast_shapes(self.shape(value), np.shape(factors))
        value = self.broadcast(value, shape)
        return self.step(Scale, [value], shape, np.broadcast_to(finite(factors), shape))

    def offset(self, value: int, terms: np.ndarray) -> int:
        """Add constants that broadcast to the value."""
        shape = np.broadcast_shapes(self.shape(value), np.shape(terms))
        value = self.broadcast(value, shape)
        return self.step(Offset, [value], shape, np.broadcast_to(finite(terms), shape))

    def clip(self, value: int, low: Any, high: Any) -> int:
        """Limit to bounds that broadcast to the value."""
        shape = self.shape(value)
        bounds = [np.broadcast_to(np.asarray(bound, np.float64), shape) for bound in (low, high)]
        return self.step(Clip, [value], shape, *bounds)

    def pair(self, kind: type[Add | Multiply | Maximum], first: int, second: int) -> int:
        """Combine two values that broadcast to each other."""
        shape = np.broadcast_shapes(self.shape(first), self.shape(second))
        return self.step(kind, [self.broadcast(first, shape), self.broadcast(second, shape)], shape)


def finite(values: np.ndarray) -> np.ndarray:
    """Return constants in float64; NaN and infinities have no fixed-point form."""
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        raise Inexact("a constant is not finite")
    return values


def row(constant: np.ndarray) -> np.ndarray:
    """Return a constant operand without the axis of the batch."""
    if constant.ndim and constant.shape[0] != 1:
        raise Inexact(f"a constant of the shape {constant.shape} differs between events")
    return constant[0] if constant.ndim else constant


def _operand(array: np.ndarray, rank: int) -> np.ndarray:
    """Return a constant operand of an elementwise operator, without the axis of the batch."""
    return row(array) if array.ndim == rank + 1 else array


def _add(operands: Operands) -> list[int]:
    first, second = operands.values
    if first is not None and second is not None:
        return [operands.pair(Add, first, second)]
    value, other = operands.value_and_constant()
    return [operands.offset(value, _operand(other, len(operands.shape(value))))]


def _sub(operands: Operands) -> list[int]:
    first, second = operands.values
    if second is None:
        other = _operand(operands.constant(1, "what is subtracted"), _rank(operands, 0))
        return [operands.offset(operands.value(0), -finite(other))]
    negative = operands.scale(second, np.asarray(-1.0))
    if first is not None:
        return [operands.pair(Add, first, negative)]
    other = _operand(operands.constant(0, "the minuend"), _rank(operands, 1))
    return [operands.offset(negative, other)]


def _mul(operands: Operands) -> list[int]:
    first, second = operands.values
    if first is not None and second is not None:
        return [operands.pair(Multiply, first, second)]
    value, other = operands.value_and_constant()
    return [operands.scale(value, _operand(other, len(operands.shape(value))))]


def _div(operands: Operands) -> list[int]:
    divisor = finite(operands.constant(1, "the divisor"))
    mantissa, _ = np.frexp(divisor)
    if (np.abs(mantissa) != 0.5).any():
        raise Inexact("the divisor is not a power of two")
    return [operands.scale(operands.value(0), 1 / _operand(divisor, _rank(operands, 0)))]


def _rank(operands: Operands, index: int) -> int:
    return len(operands.shape(operands.value(index)))


def _neg(operands: Operands) -> list[int]:
    return [operands.scale(operands.value(), np.asarray(-1.0))]


def _abs(operands: Operands) -> list[int]:
    value = operands.value()
    return [operands.pair(Maximum, value, operands.scale(value, np.asarray(-1.0)))]


def _floor(operands: Operands) -> list[int]:
    value = operands.value()
    return [operands.step(Round, [value], operands.shape(value), Rounding.FLOOR)]


def _ceil(operands: Operands) -> list[int]:
    negative = operands.scale(operands.value(), np.asarray(-1.0))
    floor = operands.step(Round, [negative], operands.shape(negative), Rounding.FLOOR)
    return [operands.scale(floor, np.asarray(-1.0))]


def _round(operands: Operands) -> list[int]:
    value = operands.value()
    return [operands.step(Round, [value], operands.shape(value), Rounding.HALF_EVEN)]


def _clip(operands: Operands) -> list[int]:
    value = operands.value()
    bounds = []
    for index, name, none in ((1, "min", -np.inf), (2, "max", np.inf)):
        given = index < len(operands.constants) and bool(operands.node.input[index])
        bound = operands.constant(index, f"the {name}") if given else operands.attributes.get(name, none)
        bounds.append(np.asarray(bound, np.float64))
    return [operands.clip(value, *bounds)]


def _relu(operands: Operands) -> list[int]:
    return [operands.clip(operands.value(), 0.0, np.inf)]


def _leaky_relu(operands: Operands) -> list[int]:
    slope = float(np.float32(operands.attributes.get("alpha", 0.01)))
    if not 0 <= slope <= 1:
        raise Inexact(f"its slope is {slope:g}, not between 0 and 1")
    value = operands.value()
    return [operands.pair(Maximum, value, operands.scale(value, np.asarray(slope)))]


def _extreme(sign: float) -> Callable[[Operands], list[int]]:
    """Return the operator Max (1) or Min (-1)."""

    def operator(operands: Operands) -> list[int]:
        values = [value for value in operands.values if value is not None]
        constants = [constant for constant in operands.constants if constant is not None]
        if sign < 0:
            values = [operands.scale(value, np.asarray(-1.0)) for value in values]
        result = reduce(lambda first, second: operands.pair(Maximum, first, second), values)
        for constant in constants:
            rank = len(operands.shape(result))
            bound = sign * np.asarray(_operand(constant, rank), np.float64)
            result = operands.clip(result, bound, np.inf)
        return [result if sign > 0 else operands.scale(result, np.asarray(-1.0))]

    return operator


def _sum(operands: Operands) -> list[int]:
    values = [operands.value(index) for index in range(len(operands.values))]
    return [reduce(lambda first, second: operands.pair(Add, first, second), values)]


def _matmul(operands: Operands) -> list[int]:
    first, second = operands.values
    if first is not None and second is not None:
        raise Inexact("both matrices are computed")
    if second is None:
        matrix = operands.constant(1, "the matrix")
        if matrix.ndim != 2 or not operands.shape(operands.value(0)):
            raise Inexact(f"the matrix has the shape {matrix.shape}")
        return [operands.linear(operands.value(0), matrix)]
    matrix, value = operands.constant(0, "the matrix"), operands.value(1)
    if matrix.ndim != 2 or len(operands.shape(value)) < 2:
        raise Inexact(f"the matrix has the shape {matrix.shape}")
    turned = operands.take([value], np.swapaxes(operands.places(value), -1, -2))
    result = operands.linear(turned, matrix.T)
    return [operands.take([result], np.swapaxes(operands.places(result), -1, -2))]


def _gemm(operands: Operands) -> list[int]:
    attributes = operands.attributes
    if attributes.get("transA", 0):
        raise Inexact("it transposes the events")
    matrix = finite(operands.constant(1, "the matrix"))
    matrix = float(np.float32(attributes.get("alpha", 1.0))) * (
        matrix.T if attributes.get("transB", 0) else matrix
    )
    result = operands.linear(operands.value(0), matrix)
    if len(operands.constants) > 2 and operands.node.input[2]:
        bias = operands.constant(2, "the bias")
        bias = row(bias) if bias.ndim == 2 else bias
        result = operands.offset(result, float(np.float32(attributes.get("beta", 1.0))) * finite(bias))
    return [result]


def _windows(operands: Operands, kernel: Sequence[int]) -> np.ndarray:
    """Return the indices that every window reads: (channels, *positions, *kernel), -1 in the padding."""
    places = operands.places(operands.value(0))
    axes = len(kernel)
    strides = operands.attributes.get("strides", [1] * axes)
    dilations = operands.attributes.get("dilations", [1] * axes)
    spans = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, kernel, strict=True)]
    automatic = operands.attributes.get("auto_pad", b"NOTSET").decode()
    pads = list(operands.attributes.get("pads", [0] * 2 * axes))
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        pads = [0] * 2 * axes
        for axis, (span, stride) in enumerate(zip(spans, strides, strict=True)):
            size = places.shape[1 + axis]
            total = max((-(-size // stride) - 1) * stride + span - size, 0)
            smaller = total // 2
            begin = smaller if automatic == "SAME_UPPER" else total - smaller
            pads[axis], pads[axes + axis] = begin, total - begin
    if operands.attributes.get("ceil_mode", 0):
        raise Inexact("ceil_mode is not supported")
    widths = [(0, 0), *zip(pads[:axes], pads[axes:], strict=True)]
    padded = np.pad(places, widths, constant_values=-1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=tuple(range(1, axes + 1)))
    steps = tuple(slice(None, None, stride) for stride in strides)
    inside = tuple(slice(None, None, dilation) for dilation in dilations)
    return np.asarray(windows[(slice(None), *steps, *inside)])


def _conv(operands: Operands) -> list[int]:
    weights = finite(operands.constant(1, "the kernel"))
    outputs, per_group, *kernel = weights.shape
    groups = operands.attributes.get("group", 1)
    windows = _windows(operands, kernel)
    channels, *rest = windows.shape
    positions = rest[: len(kernel)]
    results = []
    for group in range(groups):
        part = windows[group * per_group : (group + 1) * per_group]
        part = np.moveaxis(part, 0, len(positions)).reshape(*positions, -1)
        matrix = weights[group * outputs // groups : (group + 1) * outputs // groups]
        results.append(
            operands.linear(operands.take([operands.value(0)], part), matrix.reshape(len(matrix), -1).T)
        )
    del channels
    # (groups, positions, outputs of a group) -> (outputs, positions)
    size = int(np.prod(positions)) * outputs // groups
    order = np.arange(groups * size).reshape(groups, *positions, outputs // groups)
    order = np.moveaxis(order, -1, 1).reshape(outputs, *positions)
    result = operands.take(results, order)
    if len(operands.constants) > 2 and operands.node.input[2]:
        bias = operands.constant(2, "the bias")
        result = operands.offset(result, bias.reshape(-1, *[1] * len(positions)))
    return [result]


def _average_pool(operands: Operands) -> list[int]:
    kernel = operands.attributes["kernel_shape"]
    windows = _windows(operands, kernel)
    windows = windows.reshape(*windows.shape[: -len(kernel)], -1)
    if (windows < 0).any() and not operands.attributes.get("count_include_pad", 0):
        raise Inexact("windows at the edge have fewer elements")
    return [_mean(operands, operands.take([operands.value()], windows))]


def _mean(operands: Operands, value: int) -> int:
    """Return the mean along the last axis."""
    count = operands.shape(value)[-1]
    if count & (count - 1):
        raise Inexact(f"it divides by {count}, not by a power of two")
    total = operands.linear(value, np.full((count, 1), 1 / count))
    return operands.take([total], operands.places(total)[..., 0])


def _largest(operands: Operands, windows: np.ndarray) -> int:
    """Return the largest element along the last axis of windows, where -1 is absent."""
    columns = [
        np.where(windows[..., i] < 0, windows.max(axis=-1), windows[..., i]) for i in range(windows.shape[-1])
    ]
    values = [operands.take([operands.value()], column) for column in columns]
    while len(values) > 1:  # a tree, which is not deep
        pairs = [operands.pair(Maximum, *values[i : i + 2]) for i in range(0, len(values) - 1, 2)]
        values = pairs + values[len(pairs) * 2 :]
    return values[0]


def _max_pool(operands: Operands) -> list[int]:
    if len(operands.node.output) > 1:
        raise Inexact("it returns indices")
    kernel = operands.attributes["kernel_shape"]
    windows = _windows(operands, kernel)
    return [_largest(operands, windows.reshape(*windows.shape[: -len(kernel)], -1))]


def _along(operands: Operands) -> tuple[np.ndarray, Shape]:
    """Return the indices with the reduced axes joined as the last one, and the shape of the result."""
    places = operands.places(operands.value())
    given = operands.attributes.get("axes")
    if given is None and len(operands.constants) > 1 and operands.node.input[1]:
        given = operands.constant(1, "the axes").tolist()
    rank = places.ndim + 1
    axes = sorted({axis % rank for axis in given} if given else range(rank))
    if 0 in axes:
        raise Inexact("it reduces the events")
    inner = [axis - 1 for axis in axes]
    kept = [axis for axis in range(places.ndim) if axis not in inner]
    keeps = operands.attributes.get("keepdims", 1)
    shape = [1 if axis in inner else size for axis, size in enumerate(places.shape) if keeps or axis in kept]
    ordered = places.transpose(*kept, *inner)
    return ordered.reshape(*(places.shape[axis] for axis in kept), -1), tuple(shape)


def _reduce(kind: str) -> Callable[[Operands], list[int]]:
    """Return the operator ReduceSum, ReduceMean, ReduceMax or ReduceSumSquare."""

    def operator(operands: Operands) -> list[int]:
        windows, shape = _along(operands)
        if kind == "max":
            result = _largest(operands, windows)
        else:
            value = operands.take([operands.value()], windows)
            if kind == "square":
                value = operands.pair(Multiply, value, value)
            if kind == "mean":
                result = _mean(operands, value)
            else:
                total = operands.linear(value, np.ones((windows.shape[-1], 1)))
                result = operands.take([total], operands.places(total)[..., 0])
        return [operands.take([result], operands.places(result).reshape(shape))]

    return operator


def _global_pool(kind: str) -> Callable[[Operands], list[int]]:
    """Return the operator GlobalAveragePool or GlobalMaxPool."""

    def operator(operands: Operands) -> list[int]:
        places = operands.places(operands.value())
        windows = places.reshape(len(places), -1)
        if kind == "max":
            result = _largest(operands, windows)
        else:
            result = _mean(operands, operands.take([operands.value()], windows))
        shape = (len(places), *[1] * (places.ndim - 1))
        return [operands.take([result], operands.places(result).reshape(shape))]

    return operator


def _cast(operands: Operands) -> list[int]:
    value = operands.value()
    kind = helper.tensor_dtype_to_np_dtype(operands.attributes["to"])
    if kind.kind in "iu" and (operands.builder.range_of(value).fractions > 0).any():
        raise Inexact("it truncates fractions; round first")
    if kind.kind not in "iuf":
        raise Inexact(f"it converts to {kind}")
    return [value]


def _gather(operands: Operands) -> list[int]:
    if operands.values[0] is not None:
        return _rearranged(operands)
    table, value = operands.constant(0, "the table"), operands.value(1)
    grid = operands.builder.range_of(value)
    if table.ndim != 1:
        raise Inexact(f"the table has {table.ndim} axes")
    if (grid.fractions > 0).any() or grid.low.min() < 0 or grid.high.max() >= len(table):
        raise Inexact(f"its indices are not integers from 0 to {len(table) - 1}")
    return [operands.step(LookUp, [value], operands.shape(value), finite(table), 0)]


def _pad(operands: Operands) -> list[int]:
    mode = operands.attributes.get("mode", b"constant").decode()
    fill = 0.0
    if len(operands.constants) > 2 and operands.node.input[2]:
        fill = float(operands.constant(2, "the value").ravel()[0])
    pads = operands.attributes.get("pads")
    amounts = np.asarray(pads if pads is not None else operands.constant(1, "the widths"))
    rank = len(operands.shape(operands.value())) + 1
    if mode != "constant" or len(amounts) != 2 * rank or amounts[0] or amounts[rank]:
        raise Inexact(f"padding of mode {mode} with the widths {amounts.tolist()} is not supported")
    widths = list(zip(amounts[1:rank].tolist(), amounts[rank + 1 :].tolist(), strict=True))
    indices = np.pad(operands.places(operands.value()), widths, constant_values=-1)
    return [operands.take([operands.value()], indices, fill)]


def _rearranged(operands: Operands) -> list[int]:
    """Translate an operator that only moves elements, by running it on their indices."""
    values, start, inputs = [], 0, []
    for value, constant in zip(operands.values, operands.constants, strict=True):
        if value is None:
            inputs.append(constant)
            continue
        places = operands.places(value)
        inputs.append((places + start)[None])
        values.append(value)
        start += places.size
    results = evaluate_node(operands.node, inputs, operands.builder.model)
    for result in results:
        if result.shape[:1] != (1,):
            raise Inexact("it mixes events")
    return [operands.take(values, result[0]) for result in results]


def _batch_normalization(operands: Operands) -> list[int]:
    scale, bias, mean, variance = (finite(operands.constant(index, "a parameter")) for index in range(1, 5))
    factors = scale / np.sqrt(variance + float(np.float32(operands.attributes.get("epsilon", 1e-5))))
    axes = [1] * (len(operands.shape(operands.value())) - 1)
    terms = bias - mean * factors
    result = operands.scale(operands.value(), factors.reshape(-1, *axes))
    return [operands.offset(result, terms.reshape(-1, *axes))]


def _trees(operands: Operands) -> list[int]:
    """Translate TreeEnsembleRegressor; a comparison `<` on a grid is `<=` with the next smaller number."""
    attributes = operands.attributes
    if (
        attributes.get("aggregate_function", b"SUM") != b"SUM"
        or attributes.get("post_transform", b"NONE") != b"NONE"
    ):
        raise Inexact("it does not add its leaves")
    value = operands.value()
    fractions = operands.builder.range_of(value).fractions
    modes = [mode.decode() for mode in attributes["nodes_modes"]]
    keys = list(zip(attributes["nodes_treeids"], attributes["nodes_nodeids"], strict=True))
    inner = [index for index, mode in enumerate(modes) if mode != "LEAF"]
    leaves = [index for index, mode in enumerate(modes) if mode == "LEAF"]
    place = {keys[index]: number for number, index in enumerate(inner)}
    place |= {keys[index]: -1 - number for number, index in enumerate(leaves)}
    features, thresholds = np.zeros(len(inner), np.int64), np.zeros(len(inner))
    children = np.zeros((2, len(inner)), np.int64)
    for number, index in enumerate(inner):
        tree, feature = keys[index][0], attributes["nodes_featureids"][index]
        threshold = float(np.float32(attributes["nodes_values"][index]))
        step = np.ldexp(1.0, -int(fractions[feature]))
        yes, no = (place[tree, attributes[f"nodes_{name}nodeids"][index]] for name in ("true", "false"))
        if modes[index] in ("BRANCH_LT", "BRANCH_GTE"):
            threshold = np.ceil(threshold / step) * step - step
        elif modes[index] not in ("BRANCH_LEQ", "BRANCH_GT"):
            raise Inexact(f"it compares by {modes[index]}")
        if modes[index] in ("BRANCH_GT", "BRANCH_GTE"):
            yes, no = no, yes
        features[number], thresholds[number], children[:, number] = feature, threshold, (yes, no)
    weights = np.zeros((len(leaves), attributes.get("n_targets", 1)))
    targets = (attributes[f"target_{name}"] for name in ("treeids", "nodeids", "ids", "weights"))
    for tree, node, target, weight in zip(*targets, strict=True):
        weights[-1 - place[tree, node], target] += float(np.float32(weight))
    first = dict(reversed([(key[0], place[key]) for key in keys]))
    forest = Forest(features, thresholds, children[0], children[1], np.array(list(first.values())), weights)
    result = operands.step(Trees, [value], (weights.shape[1],), forest)
    if base := attributes.get("base_values"):
        result = operands.offset(result, np.asarray(base, np.float32))
    return [result]


OPERATORS: dict[str, Callable[[Operands], list[int]]] = {
    "Abs": _abs,
    "Add": _add,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Ceil": _ceil,
    "Clip": _clip,
    "Conv": _conv,
    "Div": _div,
    "Floor": _floor,
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool("mean"),
    "GlobalMaxPool": _global_pool("max"),
    "LeakyRelu": _leaky_relu,
    "MatMul": _matmul,
    "Max": _extreme(1.0),
    "MaxPool": _max_pool,
    "Min": _extreme(-1.0),
    "Mul": _mul,
    "Neg": _neg,
    "Pad": _pad,
    "ReduceMax": _reduce("max"),
    "ReduceMean": _reduce("mean"),
    "ReduceSum": _reduce("sum"),
    "ReduceSumSquare": _reduce("square"),
    "Relu": _relu,
    "Round": _round,
    "Sub": _sub,
    "Sum": _sum,
    "TreeEnsembleRegressor": _trees,
    **dict.fromkeys(
        (
            "Concat",
            "DepthToSpace",
            "Dropout",
            "Expand",
            "Flatten",
            "Identity",
            "Reshape",
            "Slice",
            "SpaceToDepth",
            "Split",
            "Squeeze",
            "Tile",
            "Transpose",
            "Unsqueeze",
        ),
        _rearranged,
    ),
}
