"""Padding, and resizing by nearest-neighbour, linear or cubic interpolation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tamis.native.expression import Expression, Load, Number, call
from tamis.native.graph import Node
from tamis.native.lowering.context import Context
from tamis.native.lowering.operators.movement import padded
from tamis.native.lowering.operators.selection import take
from tamis.native.lowering.rule import rule
from tamis.native.program import Map

CROPPED = "tf_crop_and_resize"
ROUNDED_WIDTH = 1e-4  # scales are float32


@dataclass(frozen=True)
class _Axis:
    """How one axis is resized."""

    old: int
    new: int
    scale: float
    low: float = 0.0  # the region of the input that is resized, as fractions of the axis
    high: float = 1.0

    @property
    def width(self) -> float:
        """Return the size of the result before it was rounded to an integer."""
        width = self.scale * self.old
        return self.new if abs(width - self.new) < ROUNDED_WIDTH else width

    @property
    def is_unchanged(self) -> bool:
        """Return whether the result is the input."""
        return self.old == self.new and self.scale == 1.0 and (self.low, self.high) == (0.0, 1.0)


def _aligned(index: np.ndarray, axis: _Axis) -> np.ndarray:
    return index * (axis.old - 1) / (axis.width - 1) if axis.width != 1 else 0.0 * index


def _symmetric(index: np.ndarray, axis: _Axis) -> np.ndarray:
    """Return half pixels around the centre of a result whose size was rounded."""
    offset = axis.old / 2 * (1 - axis.new / axis.width)
    return offset + (index + 0.5) / axis.scale - 0.5


def _cropped(index: np.ndarray, axis: _Axis) -> np.ndarray:
    """Return coordinates within the region, as TensorFlow's crop_and_resize."""
    last = axis.old - 1
    size = (axis.high - axis.low) * last
    return axis.low * last + (index * size / (axis.width - 1) if axis.width != 1 else 0.0 * index + size / 2)


# the coordinate in the input of each index of the output
COORDINATES: dict[str, Callable[[np.ndarray, _Axis], np.ndarray]] = {
    "half_pixel": lambda index, axis: (index + 0.5) / axis.scale - 0.5,
    "half_pixel_symmetric": _symmetric,
    "pytorch_half_pixel": lambda index, axis: (
        (index + 0.5) / axis.scale - 0.5 if axis.new > 1 else 0.0 * index
    ),
    "asymmetric": lambda index, axis: index / axis.scale,
    "align_corners": _aligned,
    CROPPED: _cropped,
}
NEAREST: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda coordinate: np.ceil(coordinate - 0.5),
    "round_prefer_ceil": lambda coordinate: np.floor(coordinate + 0.5),
}


@rule("Pad", accepts={"mode": ("constant", "edge", "reflect", "wrap")})
def _pad(context: Context, node: Node) -> None:
    value = context.value(node.inputs[0])
    mode, rank = node.text("mode", "constant"), len(value.shape)
    filling, axes = 0.0, list(range(rank))
    if node.opset < 11:
        pads = list(node.integers("paddings" if node.opset < 2 else "pads"))
        filling = node.number("value", 0.0)
    else:
        pads = [int(n) for n in context.known(node, 1)]
        padded_axes = context.optional(node, 3)
        constant = context.constant(node.inputs[2]) if node.input(2) else None
        filling = filling if constant is None else float(constant.ravel()[0])
        axes = axes if padded_axes is None else [int(a) % rank for a in padded_axes]
    before, after = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        before[axis], after[axis] = pads[place], pads[place + len(axes)]
    if mode != "constant":
        context.define(node.outputs[0], _padded_from_within(context, value, mode, before, after))
        return
    for axis in range(rank):
        low, high = max(0, -before[axis]), max(0, -after[axis])
        if low or high:
            value = context.slice(value, axis, low, value.shape[axis] - low - high)
    before, after = [max(0, n) for n in before], [max(0, n) for n in after]
    border: float | Expression = filling
    if node.opset >= 11 and node.input(2) and constant is None:
        border = context.reshape(context.value(node.inputs[2]), ())
    context.define(node.outputs[0], Load(padded(context, value, before, after, border)))


def _padded_from_within(
    context: Context, value: Expression, mode: str, before: list[int], after: list[int]
) -> Expression:
    """Pad with elements of the value itself."""
    for axis, size in enumerate(value.shape):
        if not before[axis] and not after[axis]:
            continue
        places = np.arange(-before[axis], size + after[axis])
        if mode == "edge":
            places = places.clip(0, size - 1)
        elif mode == "wrap":
            places %= size
        else:  # reflect
            period = max(1, 2 * (size - 1))
            places = np.abs(places) % period
            places = np.where(places >= size, period - places, places)
        value = take(context, value, axis, places.tolist())
    return value


@rule(
    "Resize",
    "Upsample",
    accepts={
        "mode": ("nearest", "linear", "cubic"),
        "keep_aspect_ratio_policy": ("stretch", "not_larger", "not_smaller"),
        "coordinate_transformation_mode": tuple(COORDINATES),
        "nearest_mode": tuple(NEAREST),
    },
)
def _resize(context: Context, node: Node) -> None:
    """Resize axis by axis."""
    value, shape = context.value(node.inputs[0]), context.shape(node.outputs[0])
    mode = node.text("mode", "nearest")
    coordinates = node.text(
        "coordinate_transformation_mode", "asymmetric" if node.opset < 11 else "half_pixel"
    )
    rounding = node.text("nearest_mode", "floor" if node.opset < 11 else "round_prefer_floor")
    smooth = mode == "cubic" or (mode == "linear" and node.integer("antialias", 0))
    repeats = [1] * len(shape)
    for place, axis in enumerate(_axes(context, node, value.shape, shape)):
        if axis.is_unchanged:
            continue
        where = COORDINATES[coordinates](np.arange(axis.new, dtype=np.float64), axis)
        if smooth:
            value = _weighted(context, node, value, place, axis, where)
        elif mode == "linear":
            value = _interpolated(context, value, place, where)
        else:
            places = NEAREST[rounding](where).clip(0, axis.old - 1).astype(int)
            if axis.new % axis.old == 0 and (places == np.arange(axis.new) // (axis.new // axis.old)).all():
                repeats[place] = axis.new // axis.old
            else:
                value = take(context, value, place, places.tolist())
        outside = (where < 0) | (where > axis.old - 1)
        if coordinates == CROPPED and outside.any():
            value = _repeated(context, value, repeats)
            repeats = [1] * len(shape)
            mask = context.constant_value(
                outside.astype(np.float32).reshape(-1, *[1] * (len(shape) - place - 1))
            )
            filling = Number(node.number("extrapolation_value", 0.0))
            value = Load(context.write(call("where", context.broadcast(mask, value.shape), filling, value)))
    context.define(node.outputs[0], _repeated(context, value, repeats))


def _axes(context: Context, node: Node, old: tuple[int, ...], new: tuple[int, ...]) -> list[_Axis]:
    """Return how each axis is resized; a scale is as specified, else the ratio of sizes."""
    for place in range(1, len(node.inputs)):
        context.optional(node, place)
    specified: object = node.attributes.get("scales")
    place = 2 if node.kind == "Resize" and node.opset >= 11 else 1
    if specified is None and node.input(place):
        specified = context.known(node, place).ravel().tolist()
    axes = [axis % len(old) for axis in node.integers("axes", range(len(old)))]
    scales = [after / before for before, after in zip(old, new, strict=True)]
    for axis, scale in zip(axes, specified or (), strict=False):  # type: ignore[call-overload] # an attribute of any type
        scales[axis] = float(scale)
    policy = node.text("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch" and node.input(3):
        ratios = [int(n) / old[axis] for axis, n in zip(axes, context.known(node, 3), strict=True)]
        for axis in axes:
            scales[axis] = (min if policy == "not_larger" else max)(ratios)
    bounds = [(0.0, 1.0)] * len(old)
    if node.text("coordinate_transformation_mode", "half_pixel") == CROPPED:
        region = context.known(node, 1).ravel()
        for number, axis in enumerate(axes):
            bounds[axis] = (float(region[number]), float(region[number + len(axes)]))
    return [_Axis(*one) for one in zip(old, new, scales, *zip(*bounds, strict=True), strict=True)]


def _cubic_kernel(distance: np.ndarray, a: float) -> np.ndarray:
    """Return the weights of cubic convolution (Keys 1981, https://doi.org/10.1109/TASSP.1981.1163711)."""
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _weighted(
    context: Context, node: Node, value: Expression, place: int, axis: _Axis, where: np.ndarray
) -> Expression:
    """Sum neighbours with the weights of a kernel, which antialiasing widens where elements become fewer."""
    cubic, antialiased = node.text("mode") == "cubic", bool(node.integer("antialias", 0))
    shrink = min(1.0, axis.scale) if antialiased else 1.0
    reach = int(np.ceil((2 if cubic else 1) / shrink))
    places = np.floor(where).astype(int)[:, None] + np.arange(-reach + 1, reach + 1)
    distance = (places - where[:, None]) * shrink
    weights = (
        _cubic_kernel(distance, node.number("cubic_coeff_a", -0.75))
        if cubic
        else np.clip(1 - np.abs(distance), 0, 1)
    )
    if node.integer("exclude_outside", 0):
        weights = np.where((places < 0) | (places >= axis.old), 0.0, weights)
    if antialiased or node.integer("exclude_outside", 0):
        weights /= weights.sum(1, keepdims=True)
    value = Load(context.write(value))
    tail = (1,) * (len(value.shape) - place - 1)
    total: Expression | None = None
    for tap in range(places.shape[1]):
        if not weights[:, tap].any():
            continue
        element = take(context, value, place, places[:, tap].clip(0, axis.old - 1).tolist())
        factor = context.constant_value(weights[:, tap].astype(np.float32).reshape(-1, *tail))
        factor = context.broadcast(factor, element.shape)
        total = call("mul", factor, element) if total is None else call("fma", factor, element, total)
        total = context.settled(total)
    assert total is not None  # noqa: S101 - weights add up to 1
    return Load(context.write(total))


def _interpolated(context: Context, value: Expression, axis: int, where: np.ndarray) -> Expression:
    """Interpolate linearly at coordinates along an axis."""
    size = value.shape[axis]
    where = where.clip(0, size - 1)
    low = np.minimum(np.floor(where).astype(int), size - 1)
    high = np.minimum(low + 1, size - 1)
    fraction = (where - low).astype(np.float32)
    value = Load(context.write(value))
    one, other = (take(context, value, axis, places.tolist()) for places in (low, high))
    tail = (1,) * (len(value.shape) - axis - 1)
    weights = context.broadcast(context.constant_value(fraction.reshape(-1, *tail)), one.shape)
    return Load(context.write(call("fma", call("sub", other, one), weights, one)))


def _repeated(context: Context, value: Expression, repeats: list[int]) -> Expression:
    """Repeat elements along each axis: new axes are inserted, and joined with those before them in the result."""
    if all(times == 1 for times in repeats):
        return value
    shape = tuple(size * times for size, times in zip(value.shape, repeats, strict=True))
    for axis in reversed(range(len(shape))):
        times = repeats[axis]
        if times > 1:
            value = context.insert(value, axis + 1, times)
    out = context.scratch(shape)
    target = out.reshape(value.shape)
    assert target is not None  # noqa: S101 - axes of a new buffer can be split
    context.add(Map(value, target))
    return Load(out)
