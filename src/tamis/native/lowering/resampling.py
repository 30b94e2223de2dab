"""Operators that make axes longer or shorter: padding, and resizing to the nearest element or linearly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tamis.native.expression import Expression, Load, call
from tamis.native.graph import Node
from tamis.native.lowering.context import Context, unsupported
from tamis.native.lowering.movement import padded
from tamis.native.lowering.selection import take
from tamis.native.program import Map

Rule = Callable[[Context, Node], None]
COORDINATES: dict[str, Callable[[np.ndarray, int, int, float], np.ndarray]] = {
    "half_pixel": lambda place, _have, _want, scale: (place + 0.5) / scale - 0.5,
    "pytorch_half_pixel": lambda place, _have, want, scale: (
        (place + 0.5) / scale - 0.5 if want > 1 else 0.0 * place
    ),
    "asymmetric": lambda place, _have, _want, scale: place / scale,
    "align_corners": lambda place, have, want, _scale: place * (have - 1) / max(1, want - 1),
}
NEAREST: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda place: np.ceil(place - 0.5),
    "round_prefer_ceil": lambda place: np.floor(place + 0.5),
}


def _pad(context: Context, node: Node) -> None:
    value = context.value(node.inputs[0])
    mode, rank = node.text("mode", "constant"), len(value.shape)
    filling, axes = 0.0, list(range(rank))
    if node.opset < 11:
        pads = list(node.integers("paddings" if node.opset < 2 else "pads"))
        filling = node.number("value", 0.0)
    else:
        pads = [int(n) for n in context.known(node, 1)]
        given, chosen = context.optional(node, 2), context.optional(node, 3)
        filling = filling if given is None else float(given.ravel()[0])
        axes = axes if chosen is None else [int(a) % rank for a in chosen]
    before, after = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        before[axis], after[axis] = pads[place], pads[place + len(axes)]
    if mode != "constant":
        context.define(node.outputs[0], _mirrored(context, node, value, mode, before, after))
        return
    for axis in range(rank):
        low, high = max(0, -before[axis]), max(0, -after[axis])
        if low or high:
            value = context.slice(value, axis, low, value.shape[axis] - low - high)
    before, after = [max(0, n) for n in before], [max(0, n) for n in after]
    context.define(node.outputs[0], Load(padded(context, value, before, after, filling)))


def _mirrored(
    context: Context, node: Node, value: Expression, mode: str, before: list[int], after: list[int]
) -> Expression:
    """Fill what is around with elements from within."""
    for axis, size in enumerate(value.shape):
        if not before[axis] and not after[axis]:
            continue
        places = np.arange(-before[axis], size + after[axis])
        if mode == "edge":
            places = places.clip(0, size - 1)
        elif mode == "wrap":
            places %= size
        elif mode == "reflect":
            period = max(1, 2 * (size - 1))
            places = np.abs(places) % period
            places = np.where(places >= size, period - places, places)
        else:
            raise unsupported(node, f"mode={mode!r} is not done, only constant, edge, reflect and wrap")
        value = take(context, value, axis, places.tolist())
    return value


def _resize(context: Context, node: Node) -> None:
    """Resize axis by axis."""
    value, shape = context.value(node.inputs[0]), context.shape(node.outputs[0])
    scales = _scales(context, node, value.shape, shape)
    mode = node.text("mode", "nearest")
    if mode not in ("nearest", "linear"):
        raise unsupported(node, f"mode={mode!r} is not done, only nearest and linear")
    if node.integer("antialias", 0) or node.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise unsupported(node, "antialias and keep_aspect_ratio_policy other than 'stretch' are not done")
    way = node.text("coordinate_transformation_mode", "asymmetric" if node.opset < 11 else "half_pixel")
    rounding = node.text("nearest_mode", "floor" if node.opset < 11 else "round_prefer_floor")
    if way not in COORDINATES or rounding not in NEAREST:
        raise unsupported(
            node,
            f"coordinate_transformation_mode={way!r} with nearest_mode={rounding!r} is not done, only {', '.join(COORDINATES)}",
        )
    repeats = [1] * len(shape)
    for axis, (have, want) in enumerate(zip(value.shape, shape, strict=True)):
        if have == want and scales[axis] == 1.0:
            continue
        where = COORDINATES[way](np.arange(want, dtype=np.float64), have, want, scales[axis])
        if mode == "linear":
            value = _blended(context, value, axis, where)
            continue
        places = NEAREST[rounding](where).clip(0, have - 1).astype(int)
        if want % have == 0 and (places == np.arange(want) // (want // have)).all():
            repeats[axis] = want // have
        else:
            value = take(context, value, axis, places.tolist())
    context.define(node.outputs[0], _repeated(context, value, repeats))


def _scales(context: Context, node: Node, have: tuple[int, ...], want: tuple[int, ...]) -> list[float]:
    """Return by how much each axis grows."""
    for place in range(1, len(node.inputs)):
        context.optional(node, place)
    given: object = node.attributes.get("scales")
    place = 2 if node.kind == "Resize" and node.opset >= 11 else 1
    if given is None and node.input(place):
        given = context.known(node, place).ravel().tolist()
    axes = [axis % len(have) for axis in node.integers("axes", range(len(have)))]
    scales = [new / old for old, new in zip(have, want, strict=True)]
    for axis, scale in zip(axes, given or (), strict=False):  # type: ignore[call-overload]
        scales[axis] = float(scale)
    return scales


def _blended(context: Context, value: Expression, axis: int, where: np.ndarray) -> Expression:
    """Weigh the two neighbours of each place."""
    size = value.shape[axis]
    where = where.clip(0, size - 1)
    low = np.minimum(np.floor(where).astype(int), size - 1)
    high = np.minimum(low + 1, size - 1)
    share = (where - low).astype(np.float32)
    value = Load(context.write(value))
    one, other = (take(context, value, axis, places.tolist()) for places in (low, high))
    tail = (1,) * (len(value.shape) - axis - 1)
    weights = context.broadcast(context.hold(share.reshape(-1, *tail)), one.shape)
    return Load(context.write(call("fma", call("sub", other, one), weights, one)))


def _repeated(context: Context, value: Expression, repeats: list[int]) -> Expression:
    """Repeat elements a whole number of times: axes are put in, and joined with those before them where the result is written."""
    if all(times == 1 for times in repeats):
        return value
    shape = tuple(size * times for size, times in zip(value.shape, repeats, strict=True))
    for axis in reversed(range(len(shape))):
        times = repeats[axis]
        if times > 1:
            value = context.insert(value, axis + 1, times)
    out = context.scratch(shape)
    target = out.reshape(value.shape)
    assert target is not None  # noqa: S101 - splitting axes of a new place never moves elements
    context.add(Map(value, target))
    return Load(out)


RULES: dict[str, Rule] = {"Pad": _pad, "Resize": _resize, "Upsample": _resize}
