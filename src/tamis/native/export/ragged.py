"""The C function for ragged batches: events of different numbers of particles in one call."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tamis.native.export.interface import Interface, Port, free_axis
from tamis.native.export.sources import TargetCode, code_bytes, gathered_floats, ragged_parameters

TAKE = """
/* The particles of an event from an array in which those of all events follow one another: `rows` pieces of `count` floats. */
static void take_particles(float *to, const float *from, size_t rows, size_t count, size_t pitch) {
    for (size_t r = 0; r < rows; r++) memcpy(to + r * count, from + r * pitch, count * sizeof(float));
}
"""
PUT = """
/* The same into such an array. */
static void put_particles(float *to, const float *from, size_t rows, size_t count, size_t pitch) {
    for (size_t r = 0; r < rows; r++) memcpy(to + r * pitch, from + r * count, count * sizeof(float));
}
"""


def ragged_source(face: Interface, units: Sequence[TargetCode]) -> str:
    """Return the function and what it needs; empty for a model that has none."""
    if face.why_not_ragged:
        return ""
    name, upper, sizes = face.name, face.name.upper(), face.size_names
    gathered = gathered_floats(face)
    floats = ", ".join(port.floats for port in face.ports)
    inputs, outputs = (
        [port for port in ports if port.name in gathered] for ports in (face.inputs, face.outputs)
    )
    checks = "\n".join(
        f"    if ({one}_offsets[0] != 0 || {one}_offsets[events] != {one}_total) return {upper}_BAD_OFFSETS;"
        for one in sizes
    )
    falls = "\n".join(
        f"        if ({one}_offsets[e + 1] < {one}_offsets[e]) return {upper}_BAD_OFFSETS;" for one in sizes
    )
    counts = "\n".join(
        f"        const size_t {one} = {one}_offsets[e + 1] - {one}_offsets[e];" for one in sizes
    )
    empty = " || ".join(f"!{one}" for one in sizes)
    refused = any(free_axis(port) is None and not port.is_float for port in face.outputs)
    skip = f"return {upper}_BAD_SIZE" if refused else "continue"
    return f"""{TAKE if inputs else ""}{PUT if outputs else ""}
int {name}_ragged({ragged_parameters(face)}) {{
{checks}
    for (size_t e = 0; e < events; e++) {{
{falls}
    }}
    for (size_t e = 0; e < events; e++) {{
{counts}
        if ({empty}) {skip};
        if (row_of({", ".join(sizes)}) < 0) return {upper}_BAD_SIZE;
    }}
    float *s = aligned(scratch);
{_rooms(units, gathered)}    for (size_t e = 0; e < events; e++) {{
{counts}
        if ({empty}) {{
{_empty(face)}
            continue;
        }}
        const long row = row_of({", ".join(sizes)});
        const size_t floats[] = {{{floats}}};
{"".join(f"        take_particles({port.name}_, {_place(port)}, {_lead(port)}, {_inner(port)}, {_pitch(port)});{_LINE}" for port in inputs)}\
        const float *in[] = {{{", ".join(f"{port.name}_" if port.name in gathered else _place(port) for port in face.inputs)}}};
        float *out[] = {{{", ".join(f"{port.name}_" if port.name in gathered else _place(port) for port in face.outputs)}}};
        run(in, out, 1, row, floats, s);
{"".join(f"        put_particles({_place(port)}, {port.name}_, {_lead(port)}, {_inner(port)}, {_pitch(port)});{_LINE}" for port in outputs)}\
    }}
    return {upper}_OK;
}}
"""


_LINE = "\n"


def ragged_fills_nan(face: Interface) -> bool:
    """Return whether an event without particles has outputs that are set to NaN."""
    return not face.why_not_ragged and any(port.is_float for port in face.outputs)


def _rooms(units: Sequence[TargetCode], gathered: dict[str, int]) -> str:
    """Return the pointers to the scratch in which the particles of an event are gathered."""
    lines, at = [], code_bytes(units) // 4
    for name, floats in gathered.items():
        lines.append(f"    float *{name}_ = s + {at};\n")
        at += floats
    return "".join(lines)


def _size(port: Port) -> str:
    axis = free_axis(port)
    return "" if axis is None else str(port.axes[axis])


def _after(port: Port) -> int:
    """Return the floats of a particle that follow one another."""
    axis = free_axis(port)
    return prod(int(one) for one in port.axes[(axis or 0) + 1 :])


def _lead(port: Port) -> int:
    return prod(int(one) for one in port.axes[: free_axis(port) or 0])


def _inner(port: Port) -> str:
    return f"{_size(port)} * {_after(port)}" if _after(port) != 1 else _size(port)


def _pitch(port: Port) -> str:
    return f"{_size(port)}_total * {_after(port)}" if _after(port) != 1 else f"{_size(port)}_total"


def _place(port: Port) -> str:
    """Return where an event begins."""
    if free_axis(port) is None:
        return f"{port.name} + e * {port.floats}"
    first = f"{_size(port)}_offsets[e]"
    return f"{port.name} + {first} * {_after(port)}" if _after(port) != 1 else f"{port.name} + {first}"


def _empty(face: Interface) -> str:
    """Return the lines that set the outputs of an event without particles."""
    lines = []
    for port in face.outputs:
        if free_axis(port) is None:
            lines += [f"            fill_nan({_place(port)}, {port.floats});"] if port.is_float else []
            continue
        rows = f"for (size_t r = 0; r < {_lead(port)}; r++) " if _lead(port) > 1 else ""
        place = f"{_place(port)} + r * {_pitch(port)}" if _lead(port) > 1 else _place(port)
        fill = f"fill_nan({place}, {_inner(port)})"
        if not port.is_float:
            fill = f"memset({place}, 0, {_inner(port)} * sizeof(float))"
        lines.append(f"            {rows}{fill};")
    return "\n".join(lines)
