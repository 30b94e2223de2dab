"""Elements between the points of a grid, at coordinates that depend on the event: GridSample, RoiAlign, deformable convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from tamis.native.expression import Expression, Load, Number, call
from tamis.native.graph import Node
from tamis.native.lowering.context import Context, unsupported
from tamis.native.lowering.operators.reduction import reduce
from tamis.native.lowering.operators.unfolding import add_to_channels, products
from tamis.native.lowering.rule import rule
from tamis.native.program import Choice, Pick
from tamis.native.view import View

CUBIC = -0.75  # the parameter of cubic convolution in GridSample


@dataclass(frozen=True)
class _Tap:
    """A place along one axis, its weight, and whether it is inside of the axis; None: 1, or always."""

    index: View  # from 0 to the size of the axis - 1
    weight: Expression | None = None
    inside: Expression | None = None


def interpolated(
    context: Context, source: View, lead: int, axes: Sequence[Sequence[_Tap]], shape: Sequence[int]
) -> Expression:
    """Return sums over all combinations of taps, one of each axis after the `lead` axes that source and result share."""
    rank = len(shape)
    strides = source.strides[:lead] + (0,) * (rank - lead)
    base = replace(source, shape=tuple(shape), strides=strides)
    total: Expression | None = None
    for taps in product(*axes):
        choices = tuple(
            Choice(tap.index.expand(shape), source.shape[lead + axis], source.strides[lead + axis])
            for axis, tap in enumerate(taps)
        )
        out = context.scratch(shape)
        context.add(Pick(base, choices, out))
        element: Expression = Load(out)
        inside = _product([tap.inside for tap in taps])
        if inside is not None:
            element = call("where", context.broadcast(inside, shape), element, Number(0.0))
        weight = _product([tap.weight for tap in taps])
        if weight is not None:
            element = call("mul", element, context.broadcast(weight, shape))
        total = element if total is None else call("add", total, element)
        total = context.settled(total)
    assert total is not None  # noqa: S101 - there is a tap on each axis
    return Load(context.write(total))


def _product(factors: Sequence[Expression | None]) -> Expression | None:
    found = [one for one in factors if one is not None]
    if not found:
        return None
    result = found[0]
    for one in found[1:]:
        result = call("mul", result, one)
    return result


def _clamped(index: Expression, size: int) -> Expression:
    """Return an index that is inside of an axis; NaN becomes 0."""
    return call("min", call("max", index, Number(0.0)), Number(size - 1.0))


def _tap(context: Context, index: Expression, size: int, weight: Expression | None, *, zeros: bool) -> _Tap:
    """Return a tap whose index may be outside of the axis, where elements are zero if `zeros`, else those at the border."""
    place = context.write(_clamped(index, size))
    if not zeros:
        return _Tap(place, weight)
    inside = call(
        "mul", call("greater_equal", index, Number(0.0)), call("less_equal", index, Number(size - 1.0))
    )
    return _Tap(place, weight, Load(context.write(inside)))


def _linear_taps(context: Context, where: Expression, size: int, *, zeros: bool) -> list[_Tap]:
    low = Load(context.write(call("floor", where)))
    fraction = Load(context.write(call("sub", where, low)))
    return [
        _tap(context, low, size, call("sub", Number(1.0), fraction), zeros=zeros),
        _tap(context, call("add", low, Number(1.0)), size, fraction, zeros=zeros),
    ]


def _cubic_weight(distance: Expression, *, near: bool) -> Expression:
    """Return the weight of cubic convolution at a distance up to 1, or from 1 to 2 (Keys 1981)."""
    a = CUBIC
    powers = (1.0, 0.0, -(a + 3), a + 2) if near else (-4 * a, 8 * a, -5 * a, a)
    value: Expression = Number(powers[3])
    for power in powers[2::-1]:
        value = call("fma", value, distance, Number(power))
    return value


@rule(
    "GridSample",
    accepts={
        "mode": ("linear", "bilinear", "nearest", "cubic", "bicubic"),
        "padding_mode": ("zeros", "border", "reflection"),
    },
)
def _grid_sample(context: Context, node: Node) -> None:
    """Interpolate at coordinates from -1 to 1; the last axis of the grid has those of x, y, ... in this order."""
    source, shape = context.view(node.inputs[0]), context.shape(node.outputs[0])
    grid = context.value(node.inputs[1])
    mode, padding = node.text("mode", "linear"), node.text("padding_mode", "zeros")
    aligned = bool(node.integer("align_corners", 0))
    axes: list[list[_Tap]] = []
    sizes = source.shape[2:]
    for axis, size in enumerate(sizes):
        raw = context.at(grid, len(grid.shape) - 1, len(sizes) - 1 - axis)
        raw = call("add", context.insert(raw, 1, 1), Number(1.0))
        if aligned:
            where = call("mul", call("div", raw, Number(2.0)), Number(size - 1.0))
        else:
            where = call("div", call("sub", call("mul", raw, Number(float(size))), Number(1.0)), Number(2.0))
        where = call("round", where) if mode == "nearest" else where
        low, high = (0.0, size - 1.0) if aligned else (-0.5, size - 0.5)
        where = _folded(context, Load(context.write(where)), (low, high), size, padding)
        axes.append(_taps(context, where, (low, high), size, mode, padding))
    context.define(node.outputs[0], interpolated(context, source, 2, axes, shape))


def _folded(
    context: Context, where: Expression, bounds: tuple[float, float], size: int, padding: str
) -> Expression:
    """Return coordinates beyond the bounds at the border, or reflected by it."""
    low, high = bounds
    inside = call("mul", call("greater_equal", where, Number(low)), call("less_equal", where, Number(high)))
    if padding == "border":
        moved = _clamped(where, size)
    elif padding == "reflection" and high > low:
        distance = call("mod", call("sub", where, Number(low)), Number(2 * (high - low)))
        back = call("sub", Number(2 * (high - low)), distance)
        moved = call("add", call("min", distance, back), Number(low))
    else:
        return where
    return Load(context.write(call("where", inside, where, moved)))


def _taps(
    context: Context, where: Expression, bounds: tuple[float, float], size: int, mode: str, padding: str
) -> list[_Tap]:
    """Return the neighbours of a coordinate and their weights."""
    zeros = padding == "zeros"
    if mode == "nearest":
        return [_tap(context, call("trunc", where), size, None, zeros=zeros)]
    if mode in ("linear", "bilinear") and padding != "reflection":
        return _linear_taps(context, where, size, zeros=zeros)
    low = Load(context.write(call("floor", where)))
    fraction = Load(context.write(call("sub", where, low)))
    rest = Load(context.write(call("sub", Number(1.0), fraction)))
    if mode in ("linear", "bilinear"):
        weights: dict[float, Expression] = {0.0: rest, 1.0: fraction}
    else:
        weights = {
            -1.0: _cubic_weight(call("add", fraction, Number(1.0)), near=False),
            0.0: _cubic_weight(fraction, near=True),
            1.0: _cubic_weight(rest, near=True),
            2.0: _cubic_weight(call("add", rest, Number(1.0)), near=False),
        }
    taps = []
    for shift, weight in weights.items():
        index: Expression = call("add", low, Number(shift))
        if padding == "reflection":
            index = call("trunc", _folded(context, Load(context.write(index)), bounds, size, padding))
        taps.append(_tap(context, index, size, Load(context.write(weight)), zeros=zeros))
    return taps


@rule("DeformConv")
def _deformable(context: Context, node: Node) -> None:
    """Convolve with windows whose elements are moved by offsets that depend on the event."""
    source, weights = context.view(node.inputs[0]), context.value(node.inputs[1])
    offsets, shape = context.value(node.inputs[2]), context.shape(node.outputs[0])
    batch, channels, *sizes = source.shape
    kernel, outputs = weights.shape[2:], weights.shape[0]
    if len(sizes) != 2:
        raise unsupported(node, f"it has {len(sizes)} spatial axes, and 2 are supported")
    groups, parts = node.integer("group", 1), node.integer("offset_group", 1)
    stride, dilation = node.integers("strides", (1, 1)), node.integers("dilations", (1, 1))
    pads = node.integers("pads", (0, 0, 0, 0))
    offsets = context.reshape(offsets, (batch, parts, *kernel, 2, *shape[2:]))
    axes = []
    for axis, size in enumerate(sizes):
        start = [1] * axis + [kernel[axis]] + [1] * (1 - axis)
        taps = call("mul", context.positions(kernel[axis]), Number(float(dilation[axis])))
        steps = call("mul", context.positions(shape[2 + axis]), Number(float(stride[axis])))
        place = call(
            "add",
            context.reshape(taps, (*start, 1, 1)),
            context.reshape(
                call("sub", steps, Number(float(pads[axis]))), (shape[2 + axis], *[1] * (1 - axis))
            ),
        )
        where = call("add", context.at(offsets, 4, axis), place)
        where = Load(context.write(context.insert(where, 2, 1)))
        axes.append(_linear_taps(context, where, size, zeros=True))
    moved = source.reshape((batch, parts, channels // parts, *sizes))
    if moved is None:
        moved = context.write(context.reshape(Load(source), (batch, parts, channels // parts, *sizes)))
    windows = (batch, parts, channels // parts, *kernel, *shape[2:])
    columns = interpolated(context, moved, 3, axes, windows)
    if node.input(4):
        mask = context.reshape(context.value(node.inputs[4]), (batch, parts, 1, *kernel, *shape[2:]))
        columns = call("mul", columns, context.broadcast(mask, windows))
    terms = channels // groups * prod(kernel)
    columns = context.reshape(columns, (batch, groups, terms, prod(shape[2:])))
    rows = context.reshape(weights, (1, groups, outputs // groups, terms))
    rows = context.broadcast(rows, (batch, *rows.shape[1:]))
    out = context.scratch((batch, groups, outputs // groups, prod(shape[2:])), "conv")
    products(context, context.write(rows), context.write(columns), out)
    result = context.reshape(Load(out), shape)
    if node.input(3):
        result = add_to_channels(context, result, context.value(node.inputs[3]))
    context.define(node.outputs[0], result)


@rule(
    "RoiAlign",
    accepts={"mode": ("avg",), "coordinate_transformation_mode": ("half_pixel", "output_half_pixel")},
)
def _region_align(context: Context, node: Node) -> None:
    """Average samples in each cell of each region; regions are (x1, y1, x2, y2)."""
    source, regions = context.view(node.inputs[0]), context.value(node.inputs[1])
    shape, count = context.shape(node.outputs[0]), node.integer("sampling_ratio", 0)
    if count <= 0:
        raise unsupported(node, "sampling_ratio=0 has a number of samples that depends on the event")
    half = node.opset >= 16 and node.text("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    scale = Number(node.number("spatial_scale", 1.0))
    axes: list[list[_Tap]] = []
    batches = context.reshape(context.value(node.inputs[2]), (1, shape[0], 1, 1))
    axes.append([_Tap(context.write(batches))])
    inside: list[Expression] = []
    for axis, size in enumerate(source.shape[2:]):
        start, end = (
            call("sub", call("mul", context.at(regions, 1, place), scale), Number(0.5 if half else 0.0))
            for place in (1 - axis, 3 - axis)
        )
        length = call("sub", end, start)
        length = length if half else call("max", length, Number(1.0))
        cells = shape[2 + axis]
        step = call("div", length, Number(float(cells * count)))
        place = call("add", context.positions(cells * count), Number(0.5))
        column = [context.reshape(one, (shape[0], 1)) for one in (start, step)]
        where = call("add", column[0], call("mul", column[1], place))
        where = Load(context.write(where))
        within = call("greater_equal", where, Number(-1.0)), call("less_equal", where, Number(float(size)))
        layout = (1, shape[0], *[1] * axis, cells * count, *[1] * (1 - axis))
        inside.append(context.reshape(Load(context.write(call("mul", *within))), layout))
        clamped = context.write(context.reshape(_clamped(where, size), layout))
        axes.append(_linear_taps(context, Load(clamped), size, zeros=False))
    samples = (source.shape[1], shape[0], shape[2] * count, shape[3] * count)
    value = interpolated(context, source.permute((1, 0, 2, 3)), 1, axes, samples)
    outside = context.broadcast(call("mul", *inside), samples)
    value = call("where", outside, value, Number(0.0))
    value = context.reshape(value, (samples[0], shape[0], shape[2], count, shape[3], count))
    mean = call("div", reduce(context, "sum", value, [3, 5], keep=False), Number(float(count * count)))
    context.define(node.outputs[0], context.permute(mean, (1, 0, 2, 3)))
