"""test.c: golden events, one by one and together, on each instruction set of the processor."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tamis.native.export.golden import GoldenCase, GoldenRagged
from tamis.native.export.interface import Interface, Port
from tamis.native.export.sources import RUN_TYPE, TargetCode, by_machine, declaration, guarded, supported

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


def golden_test(
    face: Interface, units: Sequence[TargetCode], cases: Sequence[GoldenCase], ragged: GoldenRagged | None
) -> str:
    """Return test.c."""
    name = face.name
    declared = _by_machine(units, lambda unit: declaration(name, unit.target))
    functions = "\n".join(_case_functions(face, case) for case in cases)
    public = "".join(_public_call(face, case) for case in cases)
    runs = _by_machine(units, lambda unit: _runs(name, unit, cases))
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
{CHECK_FUNCTION}{functions}
{_ragged(face, ragged)}
int main(void) {{
    const size_t size = {name}_scratch_size();
    unsigned char *room = malloc(size + 65), *scratch = room + 1; /* not aligned */
    if (!room) return 2;
    memset(room, 0xff, size + 65); /* NaN shows where scratch is read before it is written */
    printf("this processor runs the code for %s\\n", {name}_instruction_set());
{public}{"" if ragged is None else "    ragged(scratch);" + chr(10)}\
    float *s = (float *)(((uintptr_t)scratch + 63) & ~(uintptr_t)63);
{runs}
    for (size_t i = size; i < size + 64; i++) failures += scratch[i] != 0xff;
    free(room);
    if (failures) fprintf(stderr, "%d numbers are wrong\\n", failures);
    return failures != 0;
}}
"""


def _case_functions(face: Interface, case: GoldenCase) -> str:
    """Return the buffers of a case, and the functions that check its outputs and run it on a target."""
    name, count = case.name, case.count
    floats = {port.name: case.arrays[port.name].size // count for port in face.ports}
    buffers = "\n".join(
        f"static float {name}_found_{p.name}[{count * floats[p.name]}], {name}_alone_{p.name}[{floats[p.name]}];"
        for p in face.outputs
    )
    singles = ", ".join(f"{name}_{p.name}.numbers + i * {floats[p.name]}" for p in face.inputs)
    alone = ", ".join(f"{name}_alone_{p.name}" for p in face.outputs)
    all_in = ", ".join(f"{name}_{p.name}.numbers" for p in face.inputs)
    all_out = ", ".join(f"{name}_found_{p.name}" for p in face.outputs)
    checks = "\n".join(
        _check(port, f"{name}_found_{port.name}", f"{name}_{port.name}", count * floats[port.name])
        for port in face.outputs
    )
    same = "\n".join(
        f"""        if (memcmp({name}_alone_{p.name}, {name}_found_{p.name} + i * {floats[p.name]}, {4 * floats[p.name]})) {{
            if (!failures++) fprintf(stderr, "%s: {p.name} of event %zu alone has other bits\\n", what, i);
        }}"""
        for p in face.outputs
    )
    row = f" | {case.row}L << 32" if face.sizes else ""
    return f"""{buffers}

static void check_{name}(const char *what) {{
{checks}
}}

static void {name}_on(const char *what, run_fn run, float *s) {{
    const float *const in[] = {{{all_in}}};
    float *const out[] = {{{all_out}}};
    run(s, in, out, {count}L{row});
    check_{name}(what);
    for (size_t i = 0; i < {count}; i++) {{
        const float *const one_in[] = {{{singles}}};
        float *const one_out[] = {{{alone}}};
        run(s, one_in, one_out, 1L{row});
{same}
    }}
}}
"""


def _check(port: Port, found: str, golden: str, count: int) -> str:
    tolerance = getattr(port.spec, "tolerance")  # noqa: B009 - only outputs have one
    return (
        f'    check(what, "{port.name}", {found}, {golden}.numbers, {count}, '
        f"{tolerance.absolute!r}, {tolerance.relative!r});"
    )


def _public_call(face: Interface, case: GoldenCase) -> str:
    """Return a call of the model's function and the check of its outputs."""
    counts = [str(case.count)] if face.count else []
    arguments = ", ".join(
        [f"{case.name}_{p.name}.numbers" for p in face.inputs]
        + [f"{case.name}_found_{p.name}" for p in face.outputs]
        + counts
        + list(map(str, case.sizes))
        + ["scratch"]
    )
    call = f"failures += {face.name}({arguments}) != 0;" if face.sizes else f"{face.name}({arguments});"
    return f'    {call}\n    check_{case.name}("{face.name}");\n'


def _ragged(face: Interface, ragged: GoldenRagged | None) -> str:
    """Return the function that checks a ragged batch, and that wrong offsets are refused."""
    if ragged is None:
        return ""
    name, upper, events = face.name, face.name.upper(), len(ragged.offsets[0]) - 1
    buffers = "\n".join(f"    static float {p.name}[{ragged.arrays[p.name].size}];" for p in face.outputs)
    bounds = [f"ragged_offsets{number}, {one[-1]}" for number, one in enumerate(ragged.offsets)]
    arrays = [f"ragged_{p.name}.numbers" for p in face.inputs] + [p.name for p in face.outputs]
    checks = "\n".join(
        _check(p, p.name, f"ragged_{p.name}", ragged.arrays[p.name].size) for p in face.outputs
    )
    wrong = [bounds[0].replace(f", {ragged.offsets[0][-1]}", f", {ragged.offsets[0][-1] + 1}"), *bounds[1:]]
    return f"""static void ragged(void *scratch) {{
    const char *what = "ragged";
{buffers}
    failures += {name}_ragged({", ".join([*arrays, *bounds, str(events)])}, scratch) != {upper}_OK;
{checks}
    failures += {name}_ragged({", ".join([*arrays, *wrong, str(events)])}, scratch) != {upper}_BAD_OFFSETS;
}}
"""


def _runs(name: str, unit: TargetCode, cases: Sequence[GoldenCase]) -> str:
    condition = supported(unit.target)
    calls = " ".join(f'{case.name}_on("{unit.target.name}", {name}_{unit.target.name}, s);' for case in cases)
    return f"    if ({condition}) {{ {calls} }}" if condition else f"    {calls}"


def _by_machine(units: Sequence[TargetCode], line: Callable[[TargetCode], str]) -> str:
    """Return a line per unit; those for one machine are compiled there only."""
    parts = [
        guarded(machine, "\n".join(line(unit) for unit in group))
        for machine, group in by_machine(units).items()
    ]
    return "\n".join([*parts, *(line(unit) for unit in units if not unit.target.machine)])
