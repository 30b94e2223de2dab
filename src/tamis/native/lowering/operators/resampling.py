"""Padding, and resizing by nearest-neighbour or linear interpolation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tamis.native.expression import Expression, Load, call
from tamis.native.graph import Node
from tamis.native.lowering.context import Context
from tamis.native.lowering.operators.movement import padded
from tamis.native.lowering.operators.selection import take
from tamis.native.lowering.rule import rule
from tamis.native.program import Map

# the coordinate in the input of each index of the output: (index, input size, output size, scale)
COORDINATES: dict[str, Callable[[np.ndarray, int, int, float], np.ndarray]] = {
    "half_pixel": lambda index, _old, _new, scale: (index + 0.5) / scale - 0.5,
    "pytorch_half_pixel": lambda index, _old, new, scale: (
        (index + 0.5) / scale - 0.5 if new > 1 else 0.0 * index
    ),
    "asymmetric": lambda index, _old, _new, scale: index / scale,
    "align_corners": lambda index, old, new, _scale: index * (old - 1) / max(1, new - 1),
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
        constant, padded_axes = context.optional(node, 2), context.optional(node, 3)
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
    context.define(node.outputs[0], Load(padded(context, value, before, after, filling)))


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
        "mode": ("nearest", "linear"),
        "antialias": (0,),
        "keep_aspect_ratio_policy": ("stretch",),
        "coordinate_transformation_mode": tuple(COORDINATES),
        "nearest_mode": tuple(NEAREST),
    },
)
def _resize(context: Context, node: Node) -> None:
    """Resize axis by axis."""
    value, shape = context.value(node.inputs[0]), context.shape(node.outputs[0])
    scales = _scales(context, node, value.shape, shape)
    mode = node.text("mode", "nearest")
    coordinates = node.text(
        "coordinate_transformation_mode", "asymmetric" if node.opset < 11 else "half_pixel"
    )
    rounding = node.text("nearest_mode", "floor" if node.opset < 11 else "round_prefer_floor")
    repeats = [1] * len(shape)
    for axis, (old, new) in enumerate(zip(value.shape, shape, strict=True)):
        if old == new and scales[axis] == 1.0:
            continue
        where = COORDINATES[coordinates](np.arange(new, dtype=np.float64), old, new, scales[axis])
        if mode == "linear":
            value = _interpolated(context, value, axis, where)
            continue
        places = NEAREST[rounding](where).clip(0, old - 1).astype(int)
        if new % old == 0 and (places == np.arange(new) // (new // old)).all():
            repeats[axis] = new // old
        else:
            value = take(context, value, axis, places.tolist())
    context.define(node.outputs[0], _repeated(context, value, repeats))


def _scales(context: Context, node: Node, old: tuple[int, ...], new: tuple[int, ...]) -> list[float]:
    """Return the scale of each axis: as specified, else the ratio of sizes."""
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
    return scales


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
