"""Writing a bundle as C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tamis._base import UsageError, atomic_path
from tamis.bundle import Bundle, Golden, Reference, draw_inputs, evaluate, free_sizes
from tamis.native.build import LEVELS, Level, find_level
from tamis.native.compiler import compile_model
from tamis.native.emission import Ways, emit
from tamis.native.example import example_event
from tamis.native.export.golden import golden_header, golden_test
from tamis.native.export.interface import interface_of
from tamis.native.export.project import cmake, readme
from tamis.native.export.sources import Unit, dispatcher, header, unit_source

GOLDEN_EVENTS = 8  # that are drawn where sizes were asked for that the golden events do not have


def export_c(
    bundle: Bundle,
    folder: Path,
    *,
    dims: Mapping[str, int] | None = None,
    instructions: Sequence[str] = (),
) -> Path:
    """Write a bundle as C sources with a test; the folder appears whole or not at all.

    `dims` are sizes of free dimensions, if not those of the golden events. `instructions` are the sets to write code for, all if
    none is named; the portable code is always there.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already: remove it, or name another folder")
    levels = _levels(instructions)
    golden = _golden(bundle, dims or {})
    compiled = compile_model(bundle.model, example_event(bundle, golden))
    units = [Unit(level, emit(compiled.wide, compiled.narrow, level.target, Ways())) for level in levels]
    types = compiled.graph.types
    inputs = [types[name].shape for name in compiled.graph.inputs]
    outputs = [types[name].shape for name in compiled.graph.outputs]
    face = interface_of(bundle, golden, inputs, outputs)
    name = face.name
    files = {
        f"{name}.h": header(face),
        f"{name}.c": dispatcher(face, units),
        **{f"{name}_{unit.level.name}.c": unit_source(face, unit) for unit in units},
        "golden.h": golden_header(face),
        "test.c": golden_test(face, units),
        "CMakeLists.txt": cmake(face, units),
        "README.md": readme(face, units),
    }
    with atomic_path(folder) as part:
        part.mkdir()
        for file, text in files.items():
            (part / file).write_text(text, encoding="utf-8")
    return folder


def _levels(names: Sequence[str]) -> list[Level]:
    """Return the instruction sets that are asked for, the best first, and the portable one."""
    wanted = {find_level(name).name for name in names} | {LEVELS[-1].name}
    return [level for level in LEVELS if not names or level.name in wanted]


def _golden(bundle: Bundle, dims: Mapping[str, int]) -> Golden:
    """Return the golden events of the bundle, or events of the sizes that are asked for and what float64 makes of them."""
    if not dims:
        return bundle.golden
    signature = bundle.manifest.signature
    sizes = free_sizes(signature, dims, GOLDEN_EVENTS)
    inputs = draw_inputs(signature, sizes, np.random.default_rng(0))
    return Golden(inputs, evaluate(Reference(bundle.model), signature, inputs))
