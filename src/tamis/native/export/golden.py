"""The test of an exported model: golden events, one by one and together, on each instruction set of the processor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import EllipsisType

import numpy as np

from tamis.native.export.interface import Interface
from tamis.native.export.sources import (
    RUN_TYPE,
    TargetCode,
    by_machine,
    declaration,
    float_array,
    guarded,
    supported,
)

GOLDEN_FLOATS = 150_000  # most floats of golden events: golden.h must compile in seconds

CHECK_FUNCTION = """static int failures;

static void check(const char *what, const char *output, const float *found, const float *golden, size_t count, double absolute,
                  double relative) {
    double worst = 0.0;
    for (size_t i = 0; i < count; i++) {
        const double f = found[i], g = golden[i], error = fabs(f - g);
        if (f == g || (isnan(f) && isnan(g))) continue;
        if (!(error <= absolute + relative * fabs(g)) || !isfinite(f)) {
            if (!failures++) fprintf(stderr, "%s: %s[%zu] is %.9g, golden %.9g\\n", what, output, i, f, g);
        }
        if (error > worst) worst = error;
    }
    printf("%-9s %s: largest error %.3g\\n", what, output, worst);
}

"""


def golden_header(face: Interface) -> str:
    """Return golden.h: as many golden events as compile in a reasonable time."""
    golden = face.golden
    ports = [(port, golden.inputs[port.spec.name]) for port in face.inputs]
    ports += [(port, golden.outputs[port.spec.name]) for port in face.outputs]
    count = event_count(face)
    arrays = [float_array(f"golden_{port.name}", array[rows(face, count)]) for port, array in ports]
    return "#include <stdint.h>\n" + "\n".join(arrays)


def rows(face: Interface, count: int) -> slice | EllipsisType:
    """Return the rows of the golden arrays that the test uses."""
    signature = face.bundle.manifest.signature
    return ... if signature.rows == "none" else slice(0, count * (signature.fixed_batch or 1))


def event_count(face: Interface) -> int:
    """Return the number of events, or batches of a fixed size, that the test uses."""
    signature = face.bundle.manifest.signature
    if signature.rows == "none":
        return 1
    first = next(iter(face.golden.inputs.values()))
    available = len(first) // (signature.fixed_batch or 1)
    each = sum(port.floats for port in (*face.inputs, *face.outputs))
    return int(np.clip(GOLDEN_FLOATS // each, min(2, available), available))


def golden_test(face: Interface, units: Sequence[TargetCode]) -> str:
    """Return test.c."""
    name, count = face.name, event_count(face)
    declared = _by_machine(units, lambda unit: declaration(name, unit.target))
    outs = "\n".join(
        f"static float found_{p.name}[{count * p.floats}], alone_{p.name}[{p.floats}];" for p in face.outputs
    )
    singles = ", ".join(f"golden_{p.name}.numbers + i * {p.floats}" for p in face.inputs)
    alone = ", ".join(f"alone_{p.name}" for p in face.outputs)
    all_in = ", ".join(f"golden_{p.name}.numbers" for p in face.inputs)
    all_out = ", ".join(f"found_{p.name}" for p in face.outputs)
    check_lines, same_lines = [], []
    for port in face.outputs:
        floats = port.floats
        tolerance = getattr(port.spec, "tolerance")  # noqa: B009 - only outputs have one
        check_lines.append(
            f'    check(what, "{port.name}", found_{port.name}, golden_{port.name}.numbers, {count * floats}, '
            f"{tolerance.absolute!r}, {tolerance.relative!r});"
        )
        same_lines += [
            f"        if (memcmp(alone_{port.name}, found_{port.name} + i * {floats}, {4 * floats})) {{",
            f'            if (!failures++) fprintf(stderr, "%s: {port.name} of event %zu alone has other bits\\n", what, i);',
            "        }",
        ]
    checks, same = "\n".join(check_lines), "\n".join(same_lines)
    return f"""/* Golden events through {name}: every instruction set of this processor reproduces them within the tolerance, an event has the
   same bits alone and among others, and nothing is written beyond the scratch. */
#include "{name}.h"
#include "golden.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

{RUN_TYPE}
{declared}
{outs}
{CHECK_FUNCTION}static void check_all(const char *what) {{
{checks}
}}

static void check_target(const char *what, run_fn run, float *s) {{
    const float *const in[] = {{{all_in}}};
    float *const out[] = {{{all_out}}};
    run(s, in, out, {count});
    check_all(what);
    for (size_t i = 0; i < {count}; i++) {{
        const float *const one_in[] = {{{singles}}};
        float *const one_out[] = {{{alone}}};
        run(s, one_in, one_out, 1);
{same}
    }}
}}

{_main(face, units)}"""


def _main(face: Interface, units: Sequence[TargetCode]) -> str:
    """Return main(): runs the public function, then each instruction set that the processor has."""
    name, count = face.name, event_count(face)
    arguments = ", ".join(
        [f"golden_{p.name}.numbers" for p in face.inputs]
        + [f"found_{p.name}" for p in face.outputs]
        + ([f"{count}"] if face.count else [])
        + ["scratch"]
    )
    runs = _by_machine(units, lambda unit: _run(name, unit))
    return f"""int main(void) {{
    const size_t size = {name}_scratch_size();
    unsigned char *room = malloc(size + 65), *scratch = room + 1; /* not aligned */
    if (!room) return 2;
    memset(room, 0xff, size + 65); /* NaN shows where scratch is read before it is written */
    printf("this processor runs the code for %s\\n", {name}_instruction_set());
    {name}({arguments});
    check_all("{name}");
    float *s = (float *)(((uintptr_t)scratch + 63) & ~(uintptr_t)63);
{runs}
    for (size_t i = size; i < size + 64; i++) failures += scratch[i] != 0xff;
    free(room);
    if (failures) fprintf(stderr, "%d numbers are wrong\\n", failures);
    return failures != 0;
}}
"""


def _run(name: str, unit: TargetCode) -> str:
    condition = supported(unit.target)
    call = f'check_target("{unit.target.name}", {name}_{unit.target.name}, s);'
    return f"    if ({condition}) {call}" if condition else f"    {call}"


def _by_machine(units: Sequence[TargetCode], line: Callable[[TargetCode], str]) -> str:
    """Return a line per unit; those for one machine are compiled there only."""
    parts = [
        guarded(machine, "\n".join(line(unit) for unit in group))
        for machine, group in by_machine(units).items()
    ]
    return "\n".join([*parts, *(line(unit) for unit in units if not unit.target.machine)])
