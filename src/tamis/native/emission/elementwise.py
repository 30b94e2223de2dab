"""Maps and reductions in C."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack

from tamis.native.emission.arithmetic import Arithmetic
from tamis.native.emission.interleaving import Interleaving
from tamis.native.emission.loops import Axis
from tamis.native.emission.tuning import (
    INTERLEAVED,
    LONG_EXPRESSION,
    LONG_REDUCTION,
    PARTIAL_EXTREMA,
    PARTIAL_SUMS,
)
from tamis.native.emission.walk import Walk, best_vector
from tamis.native.emission.writer import Emission, emit_statement
from tamis.native.expression import cost, loads
from tamis.native.program import Map, Maps, Reduce
from tamis.native.sizes import Size, is_fixed, largest, least
from tamis.native.view import View

IDENTITIES = {"sum": "0.0f", "prod": "1.0f", "max": "-INFINITY", "min": "INFINITY"}
REDUCING = {"sum": "f_add", "prod": "f_mul", "max": "f_max", "min": "f_min"}
SCALAR_REDUCING = {
    "sum": "{0} + {1}",
    "prod": "{0} * {1}",
    "max": "{0} > {1} ? {0} : {1}",
    "min": "{0} < {1} ? {0} : {1}",
}


@emit_statement.register
def emit_map(statement: Map, emission: Emission) -> None:
    """Write an expression, element by element."""
    writer, mode = emission.writer, emission.mode
    value, out = statement.value, statement.out
    walk = Walk(writer, mode, [out, *(load.view for load in loads(value))])
    axes, last = _axes(walk, out)
    arithmetic = Arithmetic(writer, walk.read, walk.depth)
    arithmetic.innermost = len(axes)
    copies = INTERLEAVED if cost(value) >= LONG_EXPRESSION else 1
    with ExitStack() as stack:
        arithmetic.prepare(value, -1)
        for axis in axes:
            arithmetic.prepare(value, stack.enter_context(walk.enter(axis)))
        variables = arithmetic.variables
        with walk.along(last, copies) as rounds:
            for number in rounds:
                arithmetic.restore(variables)
                for copy, name in enumerate(arithmetic.texts(value, number)):
                    walk.write(out, name, copy)


@emit_statement.register
def emit_maps(statement: Maps, emission: Emission) -> None:
    """Write several expressions: all of them for one vector of elements before the next."""
    writer, mode = emission.writer, emission.mode
    values, outs = statement.values, statement.outs
    reads = [load.view for value in values for load in loads(value)]
    walk = Walk(writer, mode, [*outs, *reads])
    interleaving = Interleaving(walk, reads, outs)
    axes, last = _axes(walk, outs[0], interleaving.can_share_vectors)
    arithmetic = Arithmetic(writer, interleaving.read, walk.depth)
    with ExitStack() as stack:
        if not mode.wide and axes and interleaving.can_share_vectors(axes[-1], last):
            rounds: AbstractContextManager[Iterator[object]] = interleaving.rows(axes.pop(), last)
        else:
            rounds = walk.along(last)
        for axis in axes:
            stack.enter_context(walk.enter(axis))
        for _ in stack.enter_context(rounds):
            arithmetic.restore({})
            interleaving.begin()
            interleaving.write([arithmetic.text(value) for value in values])


def _axes(
    walk: Walk, out: View, keeps_last: Callable[[Axis, Axis], bool] = lambda _, __: False
) -> tuple[list[Axis], Axis]:
    """Return the outer loops and the axis of vectors, and tell the walk: the cheapest axis, or the last one where `keeps_last`."""
    mode = walk.mode
    axes = walk.axes(out.shape, [view.strides for view in walk.views])
    if mode.wide and mode.count > 1:
        axes.append(walk.events())
    axes = axes or [Axis(1, (0,) * len(walk.views))]
    fits = mode.wide or (len(axes) > 1 and keeps_last(axes[-2], axes[-1]))
    last = axes.pop(-1 if fits else best_vector(mode, axes, 1))
    if not mode.wide and mode.count > 1:
        axes.insert(0, walk.events())
    walk.plan = [*axes, last]
    return axes, last


@emit_statement.register
def emit_reduce(statement: Reduce, emission: Emission) -> None:
    """Write a reduction: element i of the last axis goes to accumulator i modulo their number; these are reduced in halves.

    A short sum has one accumulator. Where only some sizes are short, the code decides by the size, so that the bits of an event do not depend on
    the other sizes that it is for.
    """
    writer, size = emission.writer, statement.value.shape[-1]
    rounds = statement.kind in ("sum", "prod")
    if rounds and isinstance(size, Size) and int(size.values.min()) < LONG_REDUCTION <= size.largest:
        with writer.block(f"if ({size} < {LONG_REDUCTION})"):
            _emit_reduction(statement, emission, 1)
        with writer.block("else"):
            _emit_reduction(statement, emission, PARTIAL_SUMS)
    elif largest(size) < LONG_REDUCTION:
        _emit_reduction(statement, emission, 1)
    else:
        _emit_reduction(statement, emission, PARTIAL_SUMS if rounds else PARTIAL_EXTREMA)


def _emit_reduction(statement: Reduce, emission: Emission, count: int) -> None:
    """Write a reduction with some number of accumulators."""
    writer, mode = emission.writer, emission.mode
    rank = len(statement.out.shape)
    shape = statement.value.shape
    out = statement.out
    for _ in shape[rank:]:
        out = out.insert(len(out.shape), 1)
    out = out.expand(shape)
    walk = Walk(writer, mode, [out, *(load.view for load in loads(statement.value))])
    strides = [view.strides for view in walk.views]
    kept = walk.axes(shape[:rank], [one[:rank] for one in strides])
    reduced = [
        Axis(
            size,
            tuple(one[axis] * mode.factor(view) for one, view in zip(strides, walk.views, strict=True)),
        )
        for axis, size in enumerate(shape[rank:], rank)
    ]
    # whether the innermost axis that is reduced is best read by vectors
    contiguous = all(stride in (0, 1) for stride in reduced[-1].strides[1:])
    long = count > 1 if statement.kind in ("sum", "prod") else largest(reduced[-1].size) >= 2 * mode.lanes
    across = not mode.wide and contiguous and long
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
        variables = arithmetic.variables
        if across:
            _reduce_across(walk, arithmetic, statement, reduced, out)
        elif mode.wide:
            _reduce_along(walk, arithmetic, statement, reduced, out, count)
        else:
            with walk.along(vector) as rounds:
                for _ in rounds:
                    arithmetic.restore(variables)
                    _reduce_along(walk, arithmetic, statement, reduced, out, count)


def _reduce_along(
    walk: Walk, arithmetic: Arithmetic, statement: Reduce, reduced: Sequence[Axis], out: View, count: int
) -> None:
    """Write a reduction in which each lane has a result of its own."""
    writer, kind = walk.writer, statement.kind
    name = writer.name("a")
    writer.line(f"V {name}[{count}];")
    writer.line(f"for (int j = 0; j < {count}; j++) {name}[j] = all({IDENTITIES[kind]});")
    inner = reduced[-1]
    whole, rest = inner.size // count, inner.size % count
    arithmetic.prepare(statement.value, len(walk.loops) - 1)
    with ExitStack() as stack:
        for axis in reduced[:-1]:
            arithmetic.prepare(statement.value, stack.enter_context(walk.enter(axis)))
        variables = arithmetic.variables
        blocks = Axis(whole, tuple(stride * count for stride in inner.strides))
        with walk.enter(blocks):
            for part in range(count):
                _add(walk, arithmetic, statement, inner, f"{name}[{part}]", part)
                arithmetic.restore(variables)
        for part in range(rest if is_fixed(rest) else count - 1):
            with writer.where(rest, part):
                _add(walk, arithmetic, statement, inner, f"{name}[{part}]", whole * count + part)
            arithmetic.restore(variables)
    half = count // 2
    while half:
        writer.line(
            f"for (int j = 0; j < {half}; j++) {name}[j] = {REDUCING[kind]}({name}[j], {name}[j + {half}]);"
        )
        half //= 2
    # The sign of the largest or smallest of 0 and -0 would depend on their order.
    walk.write(out, f"f_add({name}[0], all(0.0f))" if kind in ("max", "min") else f"{name}[0]")


def _reduce_across(
    walk: Walk, arithmetic: Arithmetic, statement: Reduce, reduced: Sequence[Axis], out: View
) -> None:
    """Write a reduction whose accumulators are the lanes of one or more vectors."""
    writer, kind, mode = walk.writer, statement.kind, walk.mode
    count = max(1, PARTIAL_SUMS // mode.lanes)
    inner = reduced[-1]
    name = writer.name("a")
    writer.line(f"V {name}[{count}];")
    writer.line(f"for (int j = 0; j < {count}; j++) {name}[j] = all({IDENTITIES[kind]});")
    width = count * mode.lanes
    whole, rest = inner.size // width, inner.size % width
    with ExitStack() as stack:
        walk.vector = inner
        for axis in reduced[:-1]:
            arithmetic.prepare(statement.value, stack.enter_context(walk.enter(axis)))
        variables = arithmetic.variables
        blocks = Axis(whole, tuple(stride * width for stride in inner.strides))
        if whole:
            with walk.enter(blocks):
                for part in range(count):
                    _add(walk, arithmetic, statement, inner, f"{name}[{part}]", part * mode.lanes)
                    arithmetic.restore(variables)
        for part in range(-(-rest // mode.lanes) if is_fixed(rest) else count):
            walk.filled = least(mode.lanes, rest - part * mode.lanes)
            start = whole * width + part * mode.lanes
            with writer.where(rest, part * mode.lanes):
                _add(walk, arithmetic, statement, inner, f"{name}[{part}]", start)
            arithmetic.restore(variables)
        walk.filled = mode.lanes
        walk.vector = None
    writer.line(f"float {name}f[{width}];")
    writer.line(f"for (int j = 0; j < {count}; j++) st({name}f + j * {mode.lanes}, {name}[j]);")
    half = width // 2
    while half:
        pair = SCALAR_REDUCING[kind].format(f"{name}f[j]", f"{name}f[j + {half}]")
        writer.line(f"for (int j = 0; j < {half}; j++) {name}f[j] = {pair};")
        half //= 2
    no_sign = " + 0.0f" if kind in ("max", "min") else ""
    writer.line(f"*({walk.address(out)}) = {name}f[0]{no_sign};")


def _add(
    walk: Walk, arithmetic: Arithmetic, statement: Reduce, inner: Axis, accumulator: str, start: int
) -> None:
    """Write the step of one accumulator: add the element, or the vector, that begins at `start` of the last axis."""
    writer, kind = walk.writer, statement.kind
    with writer.block():
        counter = f"i{len(walk.loops)}"
        writer.line(f"const long {counter} = {start}; (void){counter};")
        walk.loops.append((counter, Axis(2, inner.strides)))
        value = arithmetic.text(statement.value)
        if walk.vector is inner and walk.filled != walk.mode.lanes:
            value = f"first_({value}, {IDENTITIES[kind]}, {walk.filled})"
        writer.line(f"{accumulator} = {REDUCING[kind]}({accumulator}, {value});")
        walk.loops.pop()
