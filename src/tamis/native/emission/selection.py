"""Statements that select by an event's own indices, in C: event by event, also where lanes are events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from tamis.native.emission.loops import Axis, by_distance, joined
from tamis.native.emission.mode import Mode
from tamis.native.emission.writer import Emission, Writer, emit_statement
from tamis.native.program import Choice, Order, Pick, Put
from tamis.native.sizes import largest
from tamis.native.view import View

Moves = Sequence[tuple[str, int]]  # a loop's counter, and a view's stride in it, in numbers

COMBINED = {
    "set": "{1}",
    "add": "{0} + {1}",
    "mul": "{0} * {1}",
    "max": "{0} > {1} ? {0} : {1}",
    "min": "{0} < {1} ? {0} : {1}",
}


def _apart(mode: Mode, view: View) -> int:
    """Return the floats from event to event."""
    if mode.wide:
        return 0 if mode.is_constant(view) else 1
    return mode.event_stride(view)


def _address(mode: Mode, view: View, moves: Moves, *, event: bool = True) -> str:
    """Return the address of an element, of event v if `event`."""
    terms = [mode.base(view)]
    if event and _apart(mode, view):
        terms.append(f"v * {_apart(mode, view)}")
    terms += [f"{name} * {stride * mode.factor(view)}" for name, stride in moves if stride]
    return " + ".join(terms)


@emit_statement.register
def emit_pick(statement: Pick, emission: Emission) -> None:
    """Write out[i] = source[i, moved by the indices]."""
    writer, mode = emission.writer, emission.mode
    source, out, choices = statement.source, statement.out, statement.choices
    views = [out, source, *(one.places for one in choices)]
    axes = by_distance(joined(out.shape, [view.strides for view in views]))
    if not mode.wide and axes and axes[-1].strides[:2] == (1, 1) and not any(axes[-1].strides[2:]):
        with _selected(writer, mode, axes[:-1], views, choices, vectors=False) as (to, from_):
            _copy_row(writer, mode, axes[-1].size, to, f"{from_} + at")
        return
    alike = mode.wide and _is_fixed(mode, choices) and not mode.is_constant(source)
    with _selected(writer, mode, axes, views, choices, vectors=alike) as (to, from_):
        if alike:  # the same element of all events: whole vectors are moved
            shift = f"v * {mode.lanes}"
            writer.line(f"st({to} + {shift}, ld({from_} + at * {mode.factor(source)} + {shift}));")
        else:
            writer.line(f"*({to}) = *({from_} + at * {mode.factor(source)});")


def _copy_row(writer: Writer, mode: Mode, size: int, to: str, from_: str) -> None:
    """Write a copy of contiguous floats by vectors."""
    whole, rest, lanes = size // mode.lanes, size % mode.lanes, mode.lanes
    writer.line(f"float *to = {to};")
    writer.line(f"const float *from = {from_};")
    if whole:
        with writer.loop("c", whole):
            writer.line(f"st(to + c * {lanes}, ld(from + c * {lanes}));")
    if rest:
        with writer.where(rest):
            writer.line(f"st_n(to + {whole * lanes}, ld_n(from + {whole * lanes}, {rest}), {rest});")


@emit_statement.register
def emit_put(statement: Put, emission: Emission) -> None:
    """Write out[i, moved by the indices] = source[i], or its combination with the value there."""
    writer, mode = emission.writer, emission.mode
    source, out, choices = statement.source, statement.out, statement.choices
    views = [out, source, *(one.places for one in choices)]
    axes = joined(out.shape, [view.strides for view in views])
    with _selected(writer, mode, axes, views, choices, vectors=False) as (to, from_):
        writer.line(f"float *to = {to} + at * {mode.factor(out)};")
        writer.line(f"const float value = *({from_});")
        writer.line(f"*to = {COMBINED[statement.kind].format('*to', 'value')};")


def _is_fixed(mode: Mode, choices: Sequence[Choice]) -> bool:
    """Return whether all indices are constants."""
    return all(mode.is_constant(one.places) for one in choices)


@contextmanager
def _selected(
    writer: Writer,
    mode: Mode,
    axes: Sequence[Axis],
    views: Sequence[View],
    choices: Sequence[Choice],
    *,
    vectors: bool,
) -> Iterator[tuple[str, str]]:
    """Loop over elements and events (or `vectors` of them); yield the addresses of `out` and `source`, to which `at` is added.

    `views` are the output, the source, and the indices. An index is read in the outermost loop in which it is known.
    """
    moving = [depth for depth, axis in enumerate(axes) if any(axis.strides[2:])]
    fixed = _is_fixed(mode, choices)
    moves = [[(f"i{n}", axis.strides[view]) for n, axis in enumerate(axes)] for view in range(len(views))]
    with ExitStack() as stack:
        if not mode.wide:
            stack.enter_context(writer.loop("v", mode.count))
        written = mode.wide and not fixed
        for number, axis in enumerate([Axis(1, ()), *axes]):
            if number:
                stack.enter_context(writer.loop(f"i{number - 1}", axis.size))
            if not written and number == (moving[-1] + 1 if moving else 0):
                _write_index(writer, mode, choices, moves)
                written = True
        if mode.wide:
            stack.enter_context(writer.loop("v", mode.count if vectors else mode.count * mode.lanes))
            if not fixed:
                _write_index(writer, mode, choices, moves)
        out, source = (
            _address(mode, view, move, event=not vectors)
            for view, move in zip(views[:2], moves[:2], strict=True)
        )
        yield out, source


def _write_index(writer: Writer, mode: Mode, choices: Sequence[Choice], moves: Sequence[Moves]) -> None:
    """Declare `at`: the distance that the indices lead to, in numbers."""
    terms = []
    for one, move in zip(choices, moves[2:], strict=True):
        address = _address(mode, one.places, move, event=not mode.is_constant(one.places))
        terms.append(f"tamis_index(*({address}), {one.size}) * {one.stride}")
    writer.line(f"const long at = {' + '.join(terms)};")


@emit_statement.register
def emit_order(statement: Order, emission: Emission) -> None:
    """Write the first `count` of each row in order: insertion into a sorted list."""
    writer, mode = emission.writer, emission.mode
    value, count = statement.value, statement.count
    rows, size = value.shape[:-1], value.shape[-1]
    results = [view for view in (statement.values, statement.places) if view is not None]
    views = [*results, value]
    axes = joined(rows, [view.strides[:-1] for view in views])
    sign = ">" if statement.largest else "<"
    with ExitStack() as stack:
        stack.enter_context(writer.loop("v", mode.count * mode.lanes if mode.wide else mode.count))
        for number, axis in enumerate(axes):
            stack.enter_context(writer.loop(f"i{number}", axis.size))
        moves = [[(f"i{n}", axis.strides[view]) for n, axis in enumerate(axes)] for view in range(len(views))]
        writer.line(f"float best[{largest(count)}];")
        writer.line(f"int index[{largest(count)}];")
        writer.line(f"const float *x = {_address(mode, value, moves[-1])};")
        step = value.strides[-1] * mode.factor(value)
        stays = f"best[{{0}}] == best[{{0}}] && !(one {sign} best[{{0}}])"  # numbers come before NaN
        with writer.loop("i", count):
            writer.line(f"const float one = x[i * {step}];")
            _insert(writer, "i", stays)
        with writer.block(f"for (long i = {count}; i < {size}; i++)"):
            writer.line(f"const float one = x[i * {step}];")
            writer.line(f"if ({stays.format(str(count - 1))}) continue;")
            _insert(writer, str(count - 1), stays)
        names = ["best"] * (statement.values is not None) + ["index"] * (statement.places is not None)
        with writer.loop("j", count):
            for view, move, name in zip(results, moves, names, strict=False):
                address = _address(mode, view, [*move, ("j", view.strides[-1])])
                writer.line(f"*({address}) = (float){name}[j];")


def _insert(writer: Writer, last: str, stays: str) -> None:
    """Insert an element into the sorted list: move the worse ones back by one, beginning with the last."""
    writer.line(f"long j = {last};")
    writer.line(
        f"for (; j > 0 && !({stays.format('j - 1')}); j--) best[j] = best[j - 1], index[j] = index[j - 1];"
    )
    writer.line("best[j] = one, index[j] = (int)i;")
