"""The events that the test of an exported model runs: golden ones, and random ones of other sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tamis.bundle import Golden, Reference, Signature, Tolerance, draw_inputs, evaluate, free_sizes
from tamis.native.export.interface import Interface, Port, RunTimeSizes, Shape, free_axis
from tamis.native.export.sources import float_array
from tamis.native.size_range import sizes_of

GOLDEN_FLOATS = 150_000  # most floats of golden events: golden.h must compile in seconds
DRAWN_EVENTS = 8  # where the sizes differ from those of the golden events
EVENTS_PER_SIZE = 3  # of each of a few other sizes
RAGGED_EVENTS = 7


@dataclass(frozen=True)
class GoldenCase:
    """Events of one size with the outputs that are expected of them, by the C names of the arrays."""

    name: str
    sizes: Shape
    row: int
    count: int  # events, or batches
    arrays: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class GoldenRagged:
    """A ragged batch with its expected outputs."""

    offsets: tuple[np.ndarray, ...]  # of each free dimension
    arrays: Mapping[str, np.ndarray]


def golden_cases(face: Interface, golden: Golden) -> list[GoldenCase]:
    """Return the golden events, as many as compile in a reasonable time, and random events of the smallest and largest sizes."""
    signature = face.bundle.manifest.signature
    if face.sizes is None:
        return [_case(face, "golden", golden, (), 0)]
    used = sizes_of(signature, golden.inputs)
    here = tuple(used[dim] for dim in face.sizes.dims)
    cases = [_case(face, "golden", golden, here, face.sizes.rows[here])] if here in face.sizes.rows else []
    for number, sizes in enumerate(_other_sizes(face.sizes, here)):
        found = _stable(
            face, drawn_golden(face, dict(zip(face.sizes.dims, sizes, strict=True)), EVENTS_PER_SIZE)
        )
        if found is not None:
            cases.append(_case(face, f"random{number}", found, sizes, face.sizes.rows[sizes]))
    return cases


def drawn_golden(face: Interface, sizes: Mapping[str, int], events: int) -> Golden:
    """Return random events of some sizes, with the outputs of the float64 reference."""
    bundle = face.bundle
    return drawn_events(bundle.manifest.signature, Reference(bundle.model), sizes, events)


def drawn_events(signature: Signature, reference: Reference, sizes: Mapping[str, int], events: int) -> Golden:
    """Return random events of some sizes, with the outputs of a reference."""
    drawn = draw_inputs(signature, free_sizes(signature, sizes, events), np.random.default_rng(0))
    return Golden(drawn, evaluate(reference, signature, drawn))


def _other_sizes(sizes: RunTimeSizes, used: Shape) -> list[Shape]:
    """Return the smallest, a middle and the largest combination of sizes."""
    every = sorted(sizes.rows)
    chosen = {every[0], every[len(every) // 3], every[-1]} - {used}
    return sorted(chosen)


def _stable(face: Interface, golden: Golden) -> Golden | None:
    """Return the events whose outputs do not depend on rounding, such as the order of almost equal distances; None if there are none."""
    signature = face.bundle.manifest.signature
    rounded = evaluate(Reference(face.bundle.model, double=False), signature, dict(golden.inputs))
    bad = [_differs(rounded[one.name], golden.outputs[one.name], one.tolerance) for one in signature.outputs]
    if signature.rows != "free":
        return None if any(one.any() for one in bad) else golden
    keep = ~np.any([one.reshape(len(one), -1).any(axis=1) for one in bad], axis=0)
    if not keep.any():
        return None
    inputs, outputs = (
        {name: value[keep] for name, value in arrays.items()} for arrays in (golden.inputs, golden.outputs)
    )
    return Golden(inputs, outputs)


def _differs(value: np.ndarray, golden: np.ndarray, tolerance: Tolerance) -> np.ndarray:
    error = np.abs(np.asarray(value, np.float64) - np.asarray(golden, np.float64))
    return ~(error <= tolerance.absolute + tolerance.relative * np.abs(golden))


def _case(face: Interface, name: str, golden: Golden, sizes: Shape, row: int) -> GoldenCase:
    """Return as many events as compile in a reasonable time."""
    signature = face.bundle.manifest.signature
    values = {
        **{port.name: golden.inputs[port.spec.name] for port in face.inputs},
        **{port.name: golden.outputs[port.spec.name] for port in face.outputs},
    }
    if signature.rows == "none":
        return GoldenCase(name, sizes, row, 1, values)
    batch = signature.fixed_batch or 1
    available = len(next(iter(values.values()))) // batch
    each = sum(value[:batch].size for value in values.values())
    count = int(np.clip(GOLDEN_FLOATS // each, min(2, available), available))
    return GoldenCase(
        name, sizes, row, count, {port: value[: count * batch] for port, value in values.items()}
    )


def golden_ragged(face: Interface, cases: Sequence[GoldenCase]) -> GoldenRagged | None:
    """Return a ragged batch of events of all cases in turn; None for a model without such batches."""
    if face.why_not_ragged or not cases:
        return None
    events = [(cases[i % len(cases)], i // len(cases)) for i in range(RAGGED_EVENTS)]
    events = [(case, number) for case, number in events if number < case.count]
    arrays = {
        port.name: _joined(port, [case.arrays[port.name][number] for case, number in events])
        for port in face.ports
    }
    sizes = np.array([case.sizes for case, _ in events], np.int64)
    offsets = np.concatenate([np.zeros((1, sizes.shape[1]), np.int64), np.cumsum(sizes, axis=0)])
    return GoldenRagged(tuple(offsets.T), arrays)


def _joined(port: Port, events: Sequence[np.ndarray]) -> np.ndarray:
    """Return the arrays of events as one: particles along the free axis, or a row for each event."""
    axis = free_axis(port)
    return np.stack(events) if axis is None else np.concatenate(events, axis=axis - 1)


def golden_header(cases: Sequence[GoldenCase], ragged: GoldenRagged | None) -> str:
    """Return golden.h."""
    arrays = [
        float_array(f"{case.name}_{port}", values) for case in cases for port, values in case.arrays.items()
    ]
    if ragged is not None:
        arrays += [float_array(f"ragged_{port}", values) for port, values in ragged.arrays.items()]
        for number, offsets in enumerate(ragged.offsets):
            arrays.append(
                f"static const size_t ragged_offsets{number}[] = {{{', '.join(map(str, offsets))}}};\n"
            )
    return "#include <stddef.h>\n#include <stdint.h>\n" + "\n".join(arrays)
