"""Writing a bundle as C."""

from __future__ import annotations

from math import prod
from pathlib import Path

from quickbeam._base import UsageError, atomic_path
from quickbeam.bundle import Bundle
from quickbeam.native.build import LEVELS
from quickbeam.native.compiler import compile_model
from quickbeam.native.emission import Ways, emit
from quickbeam.native.example import example_event
from quickbeam.native.export.golden import golden_header, golden_test
from quickbeam.native.export.interface import interface_of
from quickbeam.native.export.project import cmake, readme
from quickbeam.native.export.sources import Unit, dispatcher, header, unit_source


def export_c(bundle: Bundle, folder: Path) -> Path:
    """Write a bundle as C sources with a test, for all instruction sets; the folder appears whole or not at all."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already: remove it, or name another folder")
    compiled = compile_model(bundle.model, example_event(bundle))
    units = [Unit(level, emit(compiled.wide, compiled.narrow, level.target, Ways())) for level in LEVELS]
    types = compiled.graph.types
    inputs = [types[name].shape for name in compiled.graph.inputs]
    outputs = [types[name].shape for name in compiled.graph.outputs]
    face = interface_of(bundle, inputs, outputs, [prod(shape) for shape in (*inputs, *outputs)])
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
