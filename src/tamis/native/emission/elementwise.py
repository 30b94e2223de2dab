"""Maps and reductions in C."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack

from tamis.native.emission.arithmetic import Arithmetic
from tamis.native.emission.dealing import Dealing
from tamis.native.emission.loops import Axis
from tamis.native.emission.mode import Mode
from tamis.native.emission.walk import Walk, best_vector
from tamis.native.emission.writer import Writer
from tamis.native.expression import cost, loads
from tamis.native.program import Map, Maps, Reduce
from tamis.native.view import View

PARTS = 16  # a sum of many is made of so many sums, by its last index modulo this
MANY = 32
LONG, SIDE_BY_SIDE = 24, 2  # expressions of so many instructions are written for so many elements at a time
FEW = 4  # parts of what does not round, to keep the units busy
FIRST = {"sum": "0.0f", "prod": "1.0f", "max": "-INFINITY", "min": "INFINITY"}
STEP = {"sum": "f_add", "prod": "f_mul", "max": "f_max", "min": "f_min"}


def emit_map(writer: Writer, mode: Mode, statement: Map) -> None:
    """Write an expression down element by element."""
    value, out = statement.value, statement.out
    walk = Walk(writer, mode, [out, *(load.view for load in loads(value))])
    axes, last = _axes(walk, out)
    arithmetic = Arithmetic(writer, walk.read, walk.depth)
    arithmetic.innermost = len(axes)
    copies = SIDE_BY_SIDE if cost(value) >= LONG else 1
    with ExitStack() as stack:
        arithmetic.prepare(value, -1)
        for axis in axes:
            arithmetic.prepare(value, stack.enter_context(walk.enter(axis)))
        known = arithmetic.known
        with walk.along(last, copies) as rounds:
            for number in rounds:
                arithmetic.forget(known)
                for copy, name in enumerate(arithmetic.texts(value, number)):
                    walk.write(out, name, copy)


def emit_maps(writer: Writer, mode: Mode, statement: Maps) -> None:
    """Write several expressions down, all of them for some elements before the next."""
    values, outs = statement.values, statement.outs
    reads = [load.view for value in values for load in loads(value)]
    walk = Walk(writer, mode, [*outs, *reads])
    dealing = Dealing(walk, reads, outs)
    axes, last = _axes(walk, outs[0], dealing.makes_vectors)
    arithmetic = Arithmetic(writer, dealing.read, walk.depth)
    with ExitStack() as stack:
        if not mode.wide and axes and dealing.makes_vectors(axes[-1], last):
            through: AbstractContextManager[Iterator[object]] = dealing.rows(axes.pop(), last)
        else:
            through = walk.along(last)
        for axis in axes:
            stack.enter_context(walk.enter(axis))
        for _ in stack.enter_context(through):
            arithmetic.forget({})
            dealing.begin()
            dealing.write([arithmetic.text(value) for value in values])


def _axes(
    walk: Walk, out: View, is_best: Callable[[Axis, Axis], bool] = lambda _, __: False
) -> tuple[list[Axis], Axis]:
    """Return the loops, and the axis that vectors lie along: the best one, or the last one if that is told to be; the walk knows them all."""
    mode = walk.mode
    axes = walk.axes(out.shape, [view.strides for view in walk.views])
    if mode.wide and mode.count > 1:
        axes.append(walk.events())
    axes = axes or [Axis(1, (0,) * len(walk.views))]
    fits = mode.wide or (len(axes) > 1 and is_best(axes[-2], axes[-1]))
    last = axes.pop(-1 if fits else best_vector(mode, axes, 1))
    if not mode.wide and mode.count > 1:
        axes.insert(0, walk.events())
    walk.plan = [*axes, last]
    return axes, last


def parts(kind: str, inner: int) -> int:
    """Return of how many parts a reduction is made; where it rounds, the same whatever the mode."""
    if kind in ("sum", "prod"):
        return PARTS if inner >= MANY else 1
    return FEW if inner >= MANY else 1


def emit_reduce(writer: Writer, mode: Mode, statement: Reduce) -> None:
    """Write a reduction: parts by the last index modulo their number, added in halves at the end."""
    rank = len(statement.out.shape)
    shape = statement.value.shape
    gone = len(shape) - rank
    out = statement.out
    for _ in range(gone):
        out = out.insert(len(out.shape), 1)
    out = out.expand(shape)
    views = [out, *(load.view for load in loads(statement.value))]
    walk = Walk(writer, mode, views)
    strides = [view.strides for view in walk.views]
    kept = walk.axes(shape[:rank], [one[:rank] for one in strides])
    reduced = [
        Axis(
            size,
            tuple(
                one[rank + place] * mode.factor(view) for one, view in zip(strides, walk.views, strict=True)
            ),
        )
        for place, size in enumerate(shape[rank:])
    ]
    across = not mode.wide and _lies_along(mode, reduced[-1], statement.kind)
    with ExitStack() as stack:
        arithmetic = Arithmetic(writer, walk.read, walk.depth)
        if mode.wide:
            kept.append(walk.events())
        else:
            if not across:
                kept = kept or [Axis(1, (0,) * len(walk.views))]
                vector = kept.pop(best_vector(mode, kept, 1))
            if mode.count > 1:
                kept.insert(0, walk.events())
        along = not mode.wide and not across
        walk.plan = [*kept, vector, *reduced] if along else [*kept, *reduced]
        arithmetic.prepare(statement.value, -1)
        for axis in kept:
            arithmetic.prepare(statement.value, stack.enter_context(walk.enter(axis)))
        known = arithmetic.known
        if across:
            _reduce_across(walk, arithmetic, statement, reduced, out)
        elif mode.wide:
            _reduce_along(walk, arithmetic, statement, reduced, out)
        else:
            with walk.along(vector) as rounds:
                for _ in rounds:
                    arithmetic.forget(known)
                    _reduce_along(walk, arithmetic, statement, reduced, out)


def _lies_along(mode: Mode, axis: Axis, kind: str) -> bool:
    """Tell whether vectors best lie along the axis that is reduced."""
    smooth = all(stride in (0, 1) for stride in axis.strides[1:])
    return smooth and axis.size >= (MANY if kind in ("sum", "prod") else 2 * mode.lanes)


def _reduce_along(
    walk: Walk, arithmetic: Arithmetic, statement: Reduce, reduced: Sequence[Axis], out: View
) -> None:
    """Each lane reduces for itself."""
    writer, kind = walk.writer, statement.kind
    count = parts(kind, reduced[-1].size)
    name = writer.name("a")
    writer.line(f"V {name}[{count}];")
    writer.line(f"for (int j = 0; j < {count}; j++) {name}[j] = all({FIRST[kind]});")
    inner = reduced[-1]
    whole, rest = inner.size // count, inner.size % count
    arithmetic.prepare(statement.value, len(walk.loops) - 1)
    with ExitStack() as stack:
        for axis in reduced[:-1]:
            arithmetic.prepare(statement.value, stack.enter_context(walk.enter(axis)))
        known = arithmetic.known
        blocks = Axis(whole, tuple(stride * count for stride in inner.strides))
        with walk.enter(blocks):
            for part in range(count):
                _step(walk, arithmetic, statement, inner, name, part, 0)
                arithmetic.forget(known)
        for part in range(rest):
            _step(walk, arithmetic, statement, inner, name, part, whole * count)
            arithmetic.forget(known)
    half = count // 2
    while half:
        writer.line(
            f"for (int j = 0; j < {half}; j++) {name}[j] = {STEP[kind]}({name}[j], {name}[j + {half}]);"
        )
        half //= 2
    walk.write(out, f"{name}[0]")


def _step(
    walk: Walk, arithmetic: Arithmetic, statement: Reduce, inner: Axis, name: str, part: int, start: int
) -> None:
    """Add one element to its part."""
    writer = walk.writer
    with writer.block():
        counter = f"i{len(walk.loops)}"
        writer.line(f"const long {counter} = {start + part}; (void){counter};")
        walk.loops.append((counter, Axis(2, inner.strides)))
        value = arithmetic.text(statement.value)
        writer.line(f"{name}[{part}] = {STEP[statement.kind]}({name}[{part}], {value});")
        walk.loops.pop()


def _reduce_across(
    walk: Walk, arithmetic: Arithmetic, statement: Reduce, reduced: Sequence[Axis], out: View
) -> None:
    """The lanes of one or more vectors are the parts."""
    writer, kind, mode = walk.writer, statement.kind, walk.mode
    count = max(1, PARTS // mode.lanes)
    inner = reduced[-1]
    name = writer.name("a")
    writer.line(f"V {name}[{count}];")
    writer.line(f"for (int j = 0; j < {count}; j++) {name}[j] = all({FIRST[kind]});")
    width = count * mode.lanes
    whole, rest = inner.size // width, inner.size % width
    with ExitStack() as stack:
        walk.vector = inner
        for axis in reduced[:-1]:
            arithmetic.prepare(statement.value, stack.enter_context(walk.enter(axis)))
        known = arithmetic.known
        blocks = Axis(whole, tuple(stride * width for stride in inner.strides))
        if whole:
            with walk.enter(blocks):
                for part in range(count):
                    _vector_step(walk, arithmetic, kind, statement, inner, name, part, 0)
                    arithmetic.forget(known)
        for part in range(-(-rest // mode.lanes)):
            walk.filled = min(mode.lanes, rest - part * mode.lanes)
            _vector_step(walk, arithmetic, kind, statement, inner, name, part, whole * width)
            arithmetic.forget(known)
        walk.filled = mode.lanes
        walk.vector = None
    writer.line(f"float {name}f[{width}];")
    writer.line(f"for (int j = 0; j < {count}; j++) st({name}f + j * {mode.lanes}, {name}[j]);")
    half = width // 2
    short = {
        "sum": "{0} + {1}",
        "prod": "{0} * {1}",
        "max": "{0} > {1} ? {0} : {1}",
        "min": "{0} < {1} ? {0} : {1}",
    }
    while half:
        pair = short[kind].format(f"{name}f[j]", f"{name}f[j + {half}]")
        writer.line(f"for (int j = 0; j < {half}; j++) {name}f[j] = {pair};")
        half //= 2
    writer.line(f"*({walk.address(out)}) = {name}f[0];")


def _vector_step(walk: Walk, arithmetic: Arithmetic, kind: str, statement: Reduce, inner: Axis,
                 name: str, part: int, start: int) -> None:  # fmt: skip
    writer, lanes = walk.writer, walk.mode.lanes
    with writer.block():
        counter = f"i{len(walk.loops)}"
        writer.line(f"const long {counter} = {start + part * lanes}; (void){counter};")
        walk.loops.append((counter, Axis(2, inner.strides)))
        value = arithmetic.text(statement.value)
        if walk.filled < lanes:
            value = f"first_({value}, {FIRST[kind]}, {walk.filled})"
        writer.line(f"{name}[{part}] = {STEP[kind]}({name}[{part}], {value});")
        walk.loops.pop()
