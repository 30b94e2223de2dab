"""A whole program in C: its kernels, wide and narrow ones, and the function that splits a batch among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from tamis.native.cut import HEADER, LEFT, ROW_BITS, Way, cut, header
from tamis.native.emission import (  # noqa: F401 - each registers the emission of its statements
    contraction,
    elementwise,
    product,
    selection,
    table,
    tiled,
)
from tamis.native.emission.estimate import estimate
from tamis.native.emission.formulas import emit_sizes
from tamis.native.emission.memory import Blob, layout
from tamis.native.emission.mode import Mode
from tamis.native.emission.tuning import SLACK_FLOATS
from tamis.native.emission.writer import Emission, Writer, emit_statement
from tamis.native.limits import refuse_large_scratch
from tamis.native.program import Loop, Program, Statement
from tamis.native.sizes import largest
from tamis.native.targets import Target

LOCAL_FUNCTION = "static __attribute__((noinline))"


@dataclass(frozen=True)
class Ways:
    """The kernels that are generated, by the events that each computes at once."""

    wide: tuple[int, ...] = (1, 2)  # vectors of events
    narrow: tuple[int, ...] = (1, 2, 4, 8)  # events; 1 must be among them
    wide_bytes: int = 4 << 20  # most scratch of a wide kernel; those that need more are left out
    narrow_bytes: int = 1 << 20  # the same for narrow kernels of several events


@dataclass(frozen=True)
class Module:
    """Generated code, its constants, and the memory that a caller must provide."""

    code: str
    constants: np.ndarray
    scratch_floats: int
    inputs: tuple[int, ...]  # numbers of an event
    outputs: tuple[int, ...]
    ways: tuple[Way, ...]
    cycles: float  # of one event, estimated
    columns: int = 0  # of the rows of sizes after the constants, which `tamis_sizes` fills
    header: int = 0  # where the constants have the table that splits batches

    def with_costs(self, cost: Sequence[float]) -> Module:
        """Return the module with batches split for the lowest cost, given that of each kernel."""
        constants = self.constants.copy()
        constants[self.header : self.header + HEADER] = header(cut(self.ways, cost))
        return replace(self, constants=constants)


def emit(wide: Program, narrow: Program, target: Target, ways: Ways, blob: Blob | None = None) -> Module:
    """Write a program in C, given its statements for wide and for narrow kernels; `blob` collects the constants of several modules."""
    blob, writer = Blob() if blob is None else blob, Writer()
    start = blob.reserve(HEADER)
    if narrow.table is not None:
        ways = replace(ways, wide=(), narrow=(1,))
    scratch = 0
    kernels: list[Way] = []
    costs: list[float] = []
    for count, is_wide in [*((n, False) for n in ways.narrow), *((n, True) for n in ways.wide)]:
        program = wide if is_wide else narrow
        mode = layout(program, target, blob, count, wide=is_wide)
        refuse_large_scratch(mode.total)
        size = mode.total * (mode.scale if is_wide else count)
        if 4 * size > (ways.wide_bytes if is_wide else ways.narrow_bytes) and (is_wide or count > 1):
            continue
        scratch = max(scratch, size)
        name = f"wide{count}" if is_wide else f"narrow{count}"
        _kernel(writer, mode, program, blob, name)
        if is_wide:
            _transposes(writer, mode, program, name)
        kernels.append(Way(name, count * target.lanes if is_wide else count, is_wide))
        costs.append(estimate(mode, program.statements))
    _run(writer, narrow, kernels, blob, start)
    if narrow.table is not None and narrow.table.free is not None:
        emit_sizes(writer, narrow.table)
    inputs, outputs = (
        tuple(largest(one.elements) for one in group) for group in (narrow.inputs, narrow.outputs)
    )
    code = f"{target.source()}\n{writer.text()}"
    constants, floats = blob.array(), scratch + SLACK_FLOATS
    columns = 0 if narrow.table is None or narrow.table.free is None else len(narrow.table.columns)
    module = Module(code, constants, floats, inputs, outputs, tuple(kernels), min(costs), columns, start)
    return module.with_costs(costs)


def _kernel(writer: Writer, mode: Mode, program: Program, blob: Blob, name: str) -> None:
    """Write each statement as a function, and one that calls them."""
    declared = ["const float *restrict w", "float *restrict s"]
    if program.table is not None:
        declared.append("const long *restrict d")
    if not mode.wide:
        declared += [f"const float *x{i}" for i in range(len(program.inputs))]
        declared += [f"float *y{i}" for i in range(len(program.outputs))]
    parameters = ", ".join(declared)
    arguments = ", ".join(one.split()[-1].lstrip("*") for one in declared)
    for number, statement in enumerate(program.statements):
        function = f"{name}_{number}"
        if isinstance(statement, Loop):
            for part, one in enumerate(statement.body):
                _function(writer, f"{function}_{part}({parameters}, long t)", mode, blob, one, turns=True)
            with (
                writer.block(f"{LOCAL_FUNCTION} void {function}({parameters})"),
                _with_sizes(writer),
                writer.loop("t", statement.count),
            ):
                for part in range(len(statement.body)):
                    writer.line(f"{function}_{part}({arguments}, t);")
        else:
            _function(writer, f"{function}({parameters})", mode, blob, statement)
    with writer.block(f"static void {name}({parameters})"):
        for number in range(len(program.statements)):
            writer.line(f"{name}_{number}({arguments});")


def _function(
    writer: Writer, head: str, mode: Mode, blob: Blob, statement: Statement, *, turns: bool = False
) -> None:
    """Write a statement as a function."""
    with writer.block(f"{LOCAL_FUNCTION} void {head}"), _with_sizes(writer):
        emit_statement(statement, Emission(writer, mode, blob, turns))
        # gcc 12 may take the function for one without side effects (after its choice of induction variables), and drop the call
        writer.line('__asm__ volatile("" ::: "memory");')


@contextmanager
def _with_sizes(writer: Writer, row: str = "d") -> Iterator[None]:
    """Declare the sizes that the body of a function reads, before it."""
    first = len(writer.lines)
    yield
    writer.declare(first, row)


def _transposes(writer: Writer, mode: Mode, program: Program, name: str) -> None:
    """Write the functions that copy events into a wide kernel's scratch, and results out of it."""
    lanes, scale = mode.lanes, mode.scale
    inputs = ", ".join(f"const float *x{i}" for i in range(len(program.inputs)))
    outputs = ", ".join(f"float *y{i}" for i in range(len(program.outputs)))
    with (
        writer.block(f"static void {name}_in({inputs}, float *s, long n)"),
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
    with writer.block(f"static void {name}_out({outputs}, const float *s, long n)"):
        for number, buffer in enumerate(program.outputs):
            size, at = buffer.elements, mode.offsets[buffer] * scale
            if size == 1:
                writer.line(f"memcpy(y{number}, s + {at}, 4 * (size_t)n);")
            else:
                writer.line(
                    f"for (long i = 0; i < n; i++) for (long e = 0; e < {size}; e++) "
                    f"y{number}[i * {size} + e] = s[{at} + e * {scale} + i];"
                )


def _run(writer: Writer, program: Program, kernels: Sequence[Way], blob: Blob, start: int) -> None:
    """Write the public function, which calls the kernels that the table at `start` of the constants names.

    With sizes, the row of their table is in the upper half of `n`. The table is among the constants; where sizes are computed, its rows follow these.
    """
    xs = [(f"x{i}", buffer.elements) for i, buffer in enumerate(program.inputs)]
    ys = [(f"y{i}", buffer.elements) for i, buffer in enumerate(program.outputs)]
    inputs, outputs = ", ".join(name for name, _ in xs), ", ".join(name for name, _ in ys)
    shared = "w, s" if program.table is None else "w, s, d"
    head = "void tamis_run(const float *w, float *s, const float *const *in, float *const *out, long n)"
    with writer.block(f'__attribute__((visibility("default"))) {head}'):
        writer.line(f"const unsigned char *way = (const unsigned char *)(w + {start});")
        first = len(writer.lines)
        for number, (name, _) in enumerate(xs):
            writer.line(f"const float *{name} = in[{number}];")
        for number, (name, _) in enumerate(ys):
            writer.line(f"float *{name} = out[{number}];")
        with writer.block("while (n > 0)"):
            writer.line("long m;")
            with writer.block(f"switch (way[n < {LEFT} ? n : 0])"):
                for number, one in enumerate(kernels):
                    label = f"case {number}:" if number else "default:"
                    if one.wide:
                        body = f"m = n < {one.events} ? n : {one.events}; {one.name}_in({inputs}, s, m); {one.name}(w, s); {one.name}_out({outputs}, s, m);"
                    else:
                        body = f"m = {one.events}; {one.name}({shared}, {inputs}, {outputs});"
                    writer.line(f"{label} {body} break;")
            writer.line(" ".join(f"{name} += m * {size};" for name, size in xs + ys) + " n -= m;")
        if program.table is not None:
            writer.declare(first, "d")
            sizes = program.table.array()
            is_filled = program.table.free is None
            at = blob.add(sizes.ravel().view(np.float32)) if is_filled else blob.end
            writer.lines[first:first] = [
                f"  const long *d = (const long *)(w + {at}) + (n >> {ROW_BITS}) * {sizes.shape[1]};",
                f"  n &= (1L << {ROW_BITS}) - 1;",
            ]
