"""A whole program in C: both ways, and the function that cuts a batch into them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files

import numpy as np

from tamis.native.cut import HEADER, LEFT, Way, cut, header
from tamis.native.emission.blob import Blob
from tamis.native.emission.both import emit_both
from tamis.native.emission.contraction import Contraction
from tamis.native.emission.elementwise import emit_map, emit_maps, emit_reduce
from tamis.native.emission.estimate import estimate
from tamis.native.emission.mode import Mode, Target
from tamis.native.emission.product import emit_product
from tamis.native.emission.selection import emit_order, emit_picked
from tamis.native.emission.tiled import Products
from tamis.native.emission.writer import Writer
from tamis.native.limits import refuse_large_scratch
from tamis.native.program import (
    Contract,
    Loop,
    Map,
    Maps,
    Order,
    Pick,
    Product,
    Program,
    Put,
    Reduce,
    ReduceBoth,
    Statement,
    Tiled,
    written,
)
from tamis.native.view import Buffer, Role

SLACK = 64  # floats that may be read beyond the end of scratch
LOCAL = "static __attribute__((noinline))"
LINE = 16  # floats: places begin at multiples of it


@dataclass(frozen=True)
class Ways:
    """In what pieces batches are done: vectors of events, and few events at a time."""

    wide: tuple[int, ...] = (1, 2)  # vectors per number
    narrow: tuple[int, ...] = (1, 2, 4, 8)  # events at a time; one has to be among them
    wide_bytes: int = 4 << 20  # of scratch: a way that takes more is left out
    narrow_bytes: int = 1 << 20  # the same, where events go alone


@dataclass(frozen=True)
class Module:
    """Generated code, its constants, and what a caller has to provide."""

    code: str
    constants: np.ndarray
    scratch_floats: int
    inputs: tuple[int, ...]  # numbers of an event
    outputs: tuple[int, ...]
    ways: tuple[Way, ...]
    cycles: float  # of one event, as estimated

    def with_costs(self, cost: Sequence[float]) -> Module:
        """Return the module with batches cut by what each of its ways was seen to take."""
        constants = self.constants.copy()
        constants[:HEADER] = header(cut(self.ways, cost))
        return replace(self, constants=constants)


def emit(wide: Program, narrow: Program, target: Target, ways: Ways) -> Module:
    """Write a program in C."""
    blob, writer = Blob(), Writer()
    scratch = 0
    found: list[Way] = []
    prices: list[float] = []
    for count, is_wide in [*((n, False) for n in ways.narrow), *((n, True) for n in ways.wide)]:
        program = wide if is_wide else narrow
        mode = _mode(program, target, blob, count, wide=is_wide)
        refuse_large_scratch(mode.total)
        size = mode.total * (mode.scale if is_wide else count)
        if 4 * size > (ways.wide_bytes if is_wide else ways.narrow_bytes) and (is_wide or count > 1):
            continue
        scratch = max(scratch, size)
        name = f"wide{count}" if is_wide else f"narrow{count}"
        _way(writer, mode, program, blob, name)
        if is_wide:
            _packing(writer, mode, program, name)
        found.append(Way(name, count * target.lanes if is_wide else count, is_wide))
        prices.append(estimate(mode, program.statements))
    _run(writer, narrow, found)
    head = files("tamis.native.c").joinpath("vector.h").read_text()
    inputs, outputs = (tuple(one.elements for one in group) for group in (narrow.inputs, narrow.outputs))
    code = f"#define TAMIS_LANES {target.lanes}\n{head}\n{writer.text()}"
    return Module(code, blob.array(), scratch + SLACK, inputs, outputs, tuple(found), min(prices)).with_costs(
        prices
    )


def scratch_buffers(program: Program) -> list[Buffer]:
    """Return the places that a program writes to and reads again, in the order in which they are first written."""
    found: dict[Buffer, None] = {}
    for statement in program.statements:
        for view in written(statement):
            if view.buffer.role is Role.SCRATCH:
                found[view.buffer] = None
    return list(found)


def lifetimes(program: Program) -> dict[Buffer, tuple[int, int]]:
    """Return from which statement to which a place is needed."""
    found: dict[Buffer, tuple[int, int]] = {}
    for number, statement in enumerate(program.statements):
        for view in (*written(statement), *statement.reads()):
            first, _ = found.get(view.buffer, (number, number))
            found[view.buffer] = (first, number)
    return found


def place(
    buffers: Iterable[Buffer], lives: Mapping[Buffer, tuple[int, int]]
) -> tuple[dict[Buffer, int], int]:
    """Give places offsets: the largest first, each as low as those that live at the same time let it."""
    offsets: dict[Buffer, int] = {}
    total = 0
    for buffer in sorted(buffers, key=lambda one: -one.elements):
        first, last = lives[buffer]
        taken = sorted(
            (offsets[other], offsets[other] + _room(other))
            for other in offsets
            if lives[other][0] <= last and first <= lives[other][1]
        )
        at = 0
        for begin, end in taken:
            if begin - at >= _room(buffer):
                break
            at = max(at, end)
        offsets[buffer] = at
        total = max(total, at + _room(buffer))
    return offsets, total


def _room(buffer: Buffer) -> int:
    return -(-buffer.elements // LINE) * LINE


def _mode(program: Program, target: Target, blob: Blob, count: int, *, wide: bool) -> Mode:
    lives = lifetimes(program)
    buffers = scratch_buffers(program)
    if wide:  # what comes in and goes out lies in scratch too, for all events side by side
        end = len(program.statements)
        for buffer in program.inputs:
            lives[buffer] = (-1, lives.get(buffer, (0, 0))[1])
        for buffer in program.outputs:
            lives[buffer] = (lives[buffer][0], end)
        buffers = [*program.inputs, *buffers, *program.outputs]
    offsets, total = place(buffers, lives)
    for buffer, values in program.constants.items():
        offsets[buffer] = blob.add(values)
    names = {one: f"x{i}" for i, one in enumerate(program.inputs)}
    names |= {one: f"y{i}" for i, one in enumerate(program.outputs)}
    return Mode(target, wide, count, offsets, total, names)


def _parameters(program: Program, *, wide: bool) -> str:
    given = ["const float *restrict w", "float *restrict s"]
    if not wide:
        given += [f"const float *x{i}" for i in range(len(program.inputs))]
        given += [f"float *y{i}" for i in range(len(program.outputs))]
    return ", ".join(given)


def _way(writer: Writer, mode: Mode, program: Program, blob: Blob, name: str) -> None:
    """Write each statement as a function, and one that calls them."""
    parameters = _parameters(program, wide=mode.wide)
    given = ", ".join(one.split()[-1].lstrip("*") for one in parameters.split(", "))
    for number, statement in enumerate(program.statements):
        own = f"{name}_{number}"
        if isinstance(statement, Loop):
            for place, one in enumerate(statement.body):
                _function(writer, f"{own}_{place}({parameters}, long t)", mode, blob, one, turns=True)
            with writer.block(f"{LOCAL} void {own}({parameters})"), writer.loop("t", statement.count):
                for place in range(len(statement.body)):
                    writer.line(f"{own}_{place}({given}, t);")
        else:
            _function(writer, f"{own}({parameters})", mode, blob, statement)
    with writer.block(f"static void {name}({parameters})"):
        for number in range(len(program.statements)):
            writer.line(f"{name}_{number}({given});")


def _function(
    writer: Writer, head: str, mode: Mode, blob: Blob, statement: Statement, *, turns: bool = False
) -> None:
    """Write a statement as a function of its own."""
    with writer.block(f"{LOCAL} void {head}"):
        _statement(writer, mode, blob, statement, turns=turns)
        # gcc 12 may lose sight of what is written here (after its choice of induction variables), and leave the call out
        writer.line('__asm__ volatile("" ::: "memory");')


def _statement(writer: Writer, mode: Mode, blob: Blob, statement: Statement, *, turns: bool) -> None:
    if isinstance(statement, Map):
        emit_map(writer, mode, statement)
    elif isinstance(statement, Maps):
        emit_maps(writer, mode, statement)
    elif isinstance(statement, Reduce):
        emit_reduce(writer, mode, statement)
    elif isinstance(statement, ReduceBoth):
        emit_both(writer, mode, statement)
    elif isinstance(statement, Contract):
        Contraction(writer, mode, blob, statement, turns=turns).write()
    elif isinstance(statement, Tiled):
        Products(writer, mode, blob, statement).write()
    elif isinstance(statement, Product):
        emit_product(writer, mode, statement)
    elif isinstance(statement, Pick | Put):
        emit_picked(writer, mode, statement)
    elif isinstance(statement, Order):
        emit_order(writer, mode, statement)


def _packing(writer: Writer, mode: Mode, program: Program, name: str) -> None:
    """Write what brings events into a wide way and results out of it."""
    lanes, scale = mode.lanes, mode.scale
    with (
        writer.block(f"static void {name}_in({_pointers(program)}, float *s, long n)"),
        writer.block(f"for (long v = 0; v < {mode.count}; v++)"),
    ):
        writer.line(
            f"const long rows = n - v * {lanes} < 0 ? 0 : n - v * {lanes} > {lanes} ? {lanes} : n - v * {lanes};"
        )
        for number, buffer in enumerate(program.inputs):
            size, at = buffer.elements, mode.offsets[buffer] * scale
            writer.line(
                f"tamis_columns(x{number} + v * {lanes * size}, {size}, (int)rows, {size}, s + {at} + v * {lanes}, {scale});"
            )
    with writer.block(f"static void {name}_out({_pointers(program, out=True)}, const float *s, long n)"):
        for number, buffer in enumerate(program.outputs):
            size, at = buffer.elements, mode.offsets[buffer] * scale
            if size == 1:
                writer.line(f"memcpy(y{number}, s + {at}, 4 * (size_t)n);")
            else:
                writer.line(
                    f"for (long i = 0; i < n; i++) for (long e = 0; e < {size}; e++) "
                    f"y{number}[i * {size} + e] = s[{at} + e * {scale} + i];"
                )


def _pointers(program: Program, *, out: bool = False) -> str:
    if out:
        return ", ".join(f"float *y{i}" for i in range(len(program.outputs)))
    return ", ".join(f"const float *x{i}" for i in range(len(program.inputs)))


def _run(writer: Writer, program: Program, ways: Sequence[Way]) -> None:
    """Write the function that is called: it takes the way that the table at the beginning of the constants names."""
    xs = [(f"x{i}", buffer.elements) for i, buffer in enumerate(program.inputs)]
    ys = [(f"y{i}", buffer.elements) for i, buffer in enumerate(program.outputs)]
    into, back = ", ".join(name for name, _ in xs), ", ".join(name for name, _ in ys)
    head = "void tamis_run(const float *w, float *s, const float *const *in, float *const *out, long n)"
    with writer.block(f'__attribute__((visibility("default"))) {head}'):
        writer.line("const unsigned char *way = (const unsigned char *)w;")
        for number, (name, _) in enumerate(xs):
            writer.line(f"const float *{name} = in[{number}];")
        for number, (name, _) in enumerate(ys):
            writer.line(f"float *{name} = out[{number}];")
        with writer.block("while (n > 0)"):
            writer.line("long m;")
            with writer.block(f"switch (way[n < {LEFT} ? n : 0])"):
                for number, one in enumerate(ways):
                    label = f"case {number}:" if number else "default:"
                    if one.wide:
                        body = f"m = n < {one.events} ? n : {one.events}; {one.name}_in({into}, s, m); {one.name}(w, s); {one.name}_out({back}, s, m);"
                    else:
                        body = f"m = {one.events}; {one.name}(w, s, {into}, {back});"
                    writer.line(f"{label} {body} break;")
            writer.line(" ".join(f"{name} += m * {size};" for name, size in xs + ys) + " n -= m;")
