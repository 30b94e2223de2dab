"""The test of an exported model: golden events, each instruction set that the processor has, alone and all together."""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType

import numpy as np

from tamis.native.export.interface import Interface, Port
from tamis.native.export.numbers import float_array
from tamis.native.export.sources import TESTS, Unit

MOST_FLOATS = 150_000  # of golden events: they are sources, and are to stay readable for a compiler

CHECK = """static int failures;

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
    """Return golden.h: as many golden events as are not too much to compile."""
    golden = face.golden
    ports = [(port, golden.inputs[port.spec.name]) for port in face.inputs]
    ports += [(port, golden.outputs[port.spec.name]) for port in face.outputs]
    count = events(face)
    arrays = [float_array(f"golden_{port.name}", array[rows(face, count)]) for port, array in ports]
    return "#include <stdint.h>\n" + "\n".join(arrays)


def rows(face: Interface, count: int) -> slice | EllipsisType:
    """Return which rows of the golden arrays are taken."""
    signature = face.bundle.manifest.signature
    return ... if signature.rows == "none" else slice(0, count * (signature.fixed_batch or 1))


def events(face: Interface) -> int:
    """Return how many events, or batches of a fixed size, are taken."""
    signature = face.bundle.manifest.signature
    if signature.rows == "none":
        return 1
    first = next(iter(face.golden.inputs.values()))
    there = len(first) // (signature.fixed_batch or 1)
    each = sum(port.floats for port in (*face.inputs, *face.outputs))
    return int(np.clip(MOST_FLOATS // each, min(2, there), there))


def golden_test(face: Interface, units: Sequence[Unit]) -> str:
    """Return test.c."""
    name, count = face.name, events(face)
    levels = [unit.level.name for unit in units]
    declared = "\n".join(
        f"void {name}_{one}(float *s, const float *const *in, float *const *out, long n);" for one in levels
    )
    outs = "\n".join(
        f"static float found_{p.name}[{count * p.floats}], alone_{p.name}[{p.floats}];" for p in face.outputs
    )
    singles = ", ".join(f"golden_{p.name}.numbers + i * {p.floats}" for p in face.inputs)
    alone = ", ".join(f"alone_{p.name}" for p in face.outputs)
    whole_in = ", ".join(f"golden_{p.name}.numbers" for p in face.inputs)
    whole_out = ", ".join(f"found_{p.name}" for p in face.outputs)
    checks = "\n".join(_check(p, count) for p in face.outputs)
    same = "\n".join(_same(p) for p in face.outputs)
    return f"""/* Golden events through {name}: every instruction set that this processor has reproduces them within the tolerance, an event
   alone has the bits that it has among others, and nothing is written beyond the scratch. */
#include "{name}.h"
#include "golden.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*run_fn)(float *s, const float *const *in, float *const *out, long n);
{declared}
{outs}
{CHECK}static void check_all(const char *what) {{
{checks}
}}

static void check_level(const char *what, run_fn run, float *s) {{
    const float *const in[] = {{{whole_in}}};
    float *const out[] = {{{whole_out}}};
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


def _main(face: Interface, units: Sequence[Unit]) -> str:
    """Return the program: the public function, then each instruction set that is there."""
    name, count = face.name, events(face)
    given = ", ".join(
        [f"golden_{p.name}.numbers" for p in face.inputs]
        + [f"found_{p.name}" for p in face.outputs]
        + ([f"{count}"] if face.count else [])
        + ["scratch"]
    )
    runs = "\n".join(_run(name, unit.level.name) for unit in units)
    return f"""int main(void) {{
    const size_t size = {name}_scratch_size();
    unsigned char *room = malloc(size + 65), *scratch = room + 1; /* it may begin anywhere */
    if (!room) return 2;
    memset(room, 0xff, size + 65); /* NaN, where anything is read that was not written */
    printf("this processor runs %s\\n", {name}_instruction_set());
    {name}({given});
    check_all("{name}");
    float *s = (float *)(((uintptr_t)scratch + 63) & ~(uintptr_t)63);
{runs}
    for (size_t i = size; i < size + 64; i++) failures += scratch[i] != 0xff;
    free(room);
    if (failures) fprintf(stderr, "%d numbers are wrong\\n", failures);
    return failures != 0;
}}
"""


def _check(port: Port, count: int) -> str:
    tolerance = getattr(port.spec, "tolerance")  # noqa: B009 - outputs alone have one
    return (
        f'    check(what, "{port.name}", found_{port.name}, golden_{port.name}.numbers, {count * port.floats}, '
        f"{tolerance.absolute!r}, {tolerance.relative!r});"
    )


def _same(port: Port) -> str:
    floats = port.floats
    return (
        f"        if (memcmp(alone_{port.name}, found_{port.name} + i * {floats}, {4 * floats})) {{\n"
        f'            if (!failures++) fprintf(stderr, "%s: {port.name} of event %zu alone is another one\\n", what, i);\n'
        "        }"
    )


def _run(name: str, level: str) -> str:
    call = f'check_level("{level}", {name}_{level}, s);'
    if level not in TESTS:
        return f"    {call}"
    has = " && ".join(f'__builtin_cpu_supports("{one}")' for one in TESTS[level])
    return f"#if defined(__x86_64__)\n    if ({has}) {call}\n#endif"
