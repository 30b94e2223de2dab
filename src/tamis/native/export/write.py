"""Write a bundle as C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tamis._base import UsageError, atomic_path
from tamis.bundle import Bundle, Golden, Reference, draw_inputs, evaluate, free_sizes
from tamis.native.compiler import compile_model, example_event, may_hold
from tamis.native.emission import Ways, emit
from tamis.native.export.golden import golden_header, golden_test
from tamis.native.export.interface import interface_of
from tamis.native.export.project import cmake, readme
from tamis.native.export.sources import TargetCode, dispatcher, header, unit_source
from tamis.native.targets import NATIVE_TARGETS, find_target

DRAWN_EVENTS = 8  # for the test, where `dims` differ from the sizes of the golden events


def export_c(
    bundle: Bundle,
    folder: Path,
    *,
    dims: Mapping[str, int] | None = None,
    instructions: Sequence[str] = (),
) -> Path:
    """Write a bundle as C sources with a test, atomically; returns the folder.

    `dims` are sizes of free dimensions, by default those of the golden events. `instructions` are the targets to generate code for,
    by default all; portable code is always included.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not an empty folder; remove it, or choose another folder")
    requested = {find_target(name).name for name in instructions} | {"portable"}
    targets = [one for one in NATIVE_TARGETS if not instructions or one.name in requested]
    golden = bundle.golden
    if dims:  # random events of these sizes, with outputs of the float64 reference
        signature = bundle.manifest.signature
        sizes = free_sizes(signature, dims, DRAWN_EVENTS)
        drawn = draw_inputs(signature, sizes, np.random.default_rng(0))
        golden = Golden(drawn, evaluate(Reference(bundle.model), signature, drawn))
    compiled = compile_model(bundle.model, example_event(bundle, golden), hold=may_hold(bundle))
    units = [TargetCode(one, emit(compiled.wide, compiled.narrow, one, Ways())) for one in targets]
    types = compiled.graph.types
    inputs = [types[name].shape for name in compiled.graph.inputs]
    outputs = [types[name].shape for name in compiled.graph.outputs]
    face = interface_of(bundle, golden, inputs, outputs, compiled.graph.held)
    name = face.name
    files = {
        f"{name}.h": header(face, units),
        f"{name}.c": dispatcher(face, units),
        **{f"{name}_{unit.target.name}.c": unit_source(face, unit) for unit in units},
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
