"""What depends on an event's own indices, in C: event by event, also where vectors hold events."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from tamis.native.emission.loops import Axis, by_distance, joined
from tamis.native.emission.mode import Mode
from tamis.native.emission.writer import Writer
from tamis.native.program import Order, Pick, Put
from tamis.native.view import View

PUT = {
    "set": "{1}",
    "add": "{0} + {1}",
    "mul": "{0} * {1}",
    "max": "{0} > {1} ? {0} : {1}",
    "min": "{0} < {1} ? {0} : {1}",
}


def _events(mode: Mode) -> int:
    return mode.count * mode.lanes if mode.wide else mode.count


def _apart(mode: Mode, view: View) -> int:
    """Return how many floats lie between two events."""
    if mode.wide:
        return 0 if mode.is_constant(view) else 1
    return mode.event_stride(view)


def _address(mode: Mode, view: View, moves: Sequence[tuple[str, int]], *, event: bool = True) -> str:
    """Return where an element of an event lies; moves are in numbers."""
    terms = [mode.base(view)]
    if event and _apart(mode, view):
        terms.append(f"v * {_apart(mode, view)}")
    terms += [f"{name} * {stride * mode.factor(view)}" for name, stride in moves if stride]
    return " + ".join(terms)


def emit_picked(writer: Writer, mode: Mode, statement: Pick | Put) -> None:
    """Go through all elements; an index is read in the outermost loop in which it is known."""
    source, out, choices = statement.source, statement.out, statement.choices
    views = [out, source, *(one.places for one in choices)]
    axes = joined(out.shape, [view.strides for view in views])
    if isinstance(statement, Pick):
        axes = by_distance(axes)
    moving = [place for place, axis in enumerate(axes) if any(axis.strides[2:])]
    fixed = all(mode.is_constant(one.places) for one in choices)
    alike = mode.wide and fixed and isinstance(statement, Pick) and not mode.is_constant(source)
    moves = [[(f"i{n}", axis.strides[place]) for n, axis in enumerate(axes)] for place in range(len(views))]
    with ExitStack() as stack:
        if not mode.wide:
            stack.enter_context(writer.loop("v", mode.count))
        known = mode.wide and not fixed
        for number, axis in enumerate([Axis(1, ()), *axes]):
            if number:
                stack.enter_context(writer.loop(f"i{number - 1}", axis.size))
            if not known and number == (moving[-1] + 1 if moving else 0):
                _places(writer, mode, statement, moves)
                known = True
        if alike:
            _vectors(writer, mode, source, out, moves)
            return
        if mode.wide:
            stack.enter_context(writer.loop("v", _events(mode)))
            if not fixed:
                _places(writer, mode, statement, moves)
        to, from_ = (_address(mode, view, move) for view, move in zip((out, source), moves, strict=False))
        if isinstance(statement, Pick):
            writer.line(f"*({to}) = *({from_} + at * {mode.factor(source)});")
            return
        writer.line(f"float *to = {to} + at * {mode.factor(out)};")
        writer.line(f"const float value = *({from_});")
        writer.line(f"*to = {PUT[statement.kind].format('*to', 'value')};")


def _places(
    writer: Writer, mode: Mode, statement: Pick | Put, moves: Sequence[Sequence[tuple[str, int]]]
) -> None:
    """Write down how far the chosen axes lead."""
    terms = []
    for one, move in zip(statement.choices, moves[2:], strict=True):
        address = _address(mode, one.places, move, event=not mode.is_constant(one.places))
        terms.append(f"tamis_place(*({address}), {one.size}) * {one.stride}")
    writer.line(f"const long at = {' + '.join(terms)};")


def _vectors(
    writer: Writer, mode: Mode, source: View, out: View, moves: Sequence[Sequence[tuple[str, int]]]
) -> None:
    """Move whole vectors of events: all of them take the same element."""
    to, from_ = (
        _address(mode, view, move, event=False) for view, move in zip((out, source), moves, strict=False)
    )
    with writer.loop("v", mode.count):
        shift = f"v * {mode.lanes}"
        writer.line(f"st({to} + {shift}, ld({from_} + at * {mode.factor(source)} + {shift}));")


def emit_order(writer: Writer, mode: Mode, statement: Order) -> None:
    """Keep the best of each row in a list, into which each element is put where it belongs."""
    value, count = statement.value, statement.count
    rows, size = value.shape[:-1], value.shape[-1]
    results = [view for view in (statement.values, statement.places) if view is not None]
    views = [*results, value]
    axes = joined(rows, [view.strides[:-1] for view in views])
    sign = ">" if statement.largest else "<"
    with ExitStack() as stack:
        stack.enter_context(writer.loop("v", _events(mode)))
        for number, axis in enumerate(axes):
            stack.enter_context(writer.loop(f"i{number}", axis.size))
        moves = [
            [(f"i{n}", axis.strides[place]) for n, axis in enumerate(axes)] for place in range(len(views))
        ]
        writer.line(f"float best[{count}];")
        writer.line(f"int place[{count}];")
        writer.line(f"const float *x = {_address(mode, value, moves[-1])};")
        step = value.strides[-1] * mode.factor(value)
        stays = f"best[{{0}}] == best[{{0}}] && !(one {sign} best[{{0}}])"  # NaN gives way to numbers
        with writer.loop("i", count):
            writer.line(f"const float one = x[i * {step}];")
            _insert(writer, "i", stays)
        with writer.block(f"for (long i = {count}; i < {size}; i++)"):
            writer.line(f"const float one = x[i * {step}];")
            writer.line(f"if ({stays.format(count - 1)}) continue;")
            _insert(writer, str(count - 1), stays)
        names = ["best"] * (statement.values is not None) + ["place"] * (statement.places is not None)
        with writer.loop("j", count):
            for view, move, name in zip(results, moves, names, strict=False):
                address = _address(mode, view, [*move, ("j", view.strides[-1])])
                writer.line(f"*({address}) = (float){name}[j];")


def _insert(writer: Writer, last: str, stays: str) -> None:
    """Move what is worse back by one, from the last on, and put an element where it belongs."""
    writer.line(f"long j = {last};")
    writer.line(
        f"for (; j > 0 && !({stays.format('j - 1')}); j--) best[j] = best[j - 1], place[j] = place[j - 1];"
    )
    writer.line("best[j] = one, place[j] = (int)i;")
