"""Write a bundle as C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tamis._base import ModelError, UsageError, atomic_path
from tamis.bundle import Bundle, Golden, Reference, inner_dims
from tamis.bundle.rewrite import expand_trees
from tamis.native.compiler import CompiledModel, compile_model, compile_sizes, example_event, may_hold
from tamis.native.emission import Blob, Ways, emit
from tamis.native.export.check import golden_test
from tamis.native.export.dispatcher import dispatcher
from tamis.native.export.golden import (
    DRAWN_EVENTS,
    GoldenCase,
    drawn_events,
    golden_cases,
    golden_header,
    golden_ragged,
)
from tamis.native.export.interface import Interface, interface_of
from tamis.native.export.project import cmake, cmake_config, readme
from tamis.native.export.sources import (
    TargetCode,
    header,
    shared_constants,
    unit_source,
    weights_source,
)
from tamis.native.export.wrapper import wrapper
from tamis.native.size_range import MAX_SIZES, SizeRange, chosen_sizes
from tamis.native.targets import NATIVE_TARGETS, Target, find_target

Dims = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class CExport:
    """The folder of an export, its function, the run-time sizes, and why sizes are fixed that the model leaves free."""

    folder: Path
    name: str
    sizes: str
    why_fixed: str


def export_c(
    bundle: Bundle, folder: Path, *, dims: Dims | None = None, instructions: Sequence[str] = ()
) -> CExport:
    """Write a bundle as C sources with a CMake package, a C++ wrapper and a test, atomically.

    `dims` are sizes of free dimensions: several of one are parameters of the function, a single one is fixed. By default the sizes of one
    free dimension are those of the engine `native`. `instructions` are the targets to generate code for, by default all; portable code is
    always included.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not an empty folder; remove it, or choose another folder")
    requested = {find_target(name).name for name in instructions} | {"portable"}
    targets = [one for one in NATIVE_TARGETS if not instructions or one.name in requested]
    golden, compiled, admitted, why_fixed = _compiled(bundle, dims or {})
    blob, units = _units(compiled, targets)
    face = interface_of(bundle, compiled.graph, admitted)
    cases = golden_cases(face, golden)
    ragged = golden_ragged(face, cases)
    constants = shared_constants(blob, units)
    name = face.name
    files = {
        f"{name}.h": header(face, units),
        f"{name}.hpp": wrapper(face),
        f"{name}.c": dispatcher(face, units),
        f"{name}_weights.c": weights_source(face, constants),
        **{f"{name}_{unit.target.name}.c": unit_source(face, unit, len(constants)) for unit in units},
        "golden.h": golden_header(cases, ragged),
        "test.c": golden_test(face, units, cases, ragged),
        "CMakeLists.txt": cmake(face, units),
        f"{name}Config.cmake.in": cmake_config(face),
        "README.md": readme(face, units, constants, why_fixed, _tested(cases)),
    }
    with atomic_path(folder) as part:
        part.mkdir()
        for file, text in files.items():
            (part / file).write_text(text, encoding="utf-8")
    return CExport(folder, name, _sizes(face), why_fixed)


def _compiled(bundle: Bundle, dims: Dims) -> tuple[Golden, CompiledModel, Sequence[Mapping[str, int]], str]:
    """Return the golden events, the code, the run-time sizes (none if all are fixed), and why free sizes were fixed."""
    signature, golden, why_fixed = bundle.manifest.signature, bundle.golden, ""
    model, example = expand_trees(bundle.model), example_event(bundle)
    if dims:
        fixed = chosen_sizes(signature, dims, MAX_SIZES)
        if len(fixed) == 1:
            (sizes,) = fixed
            named = {name: sizes[name] for name in dims}
            golden = drawn_events(signature, Reference(bundle.model), named, DRAWN_EVENTS)
            return golden, compile_model(model, example_event(bundle, golden), hold=may_hold(bundle)), (), ""
    names = inner_dims(signature)
    if len(names) > 1 and not dims:
        why_fixed = f"there are several free dimensions, {', '.join(names)}: name their sizes with --dims"
    elif names:
        try:
            free = SizeRange.of(signature, dims, example)
            compiled = compile_sizes(model, free.events, free.typical, free=free.free)
        except ModelError as error:
            if dims:
                raise
            why_fixed = str(error)
        else:
            admitted = [one for one in free.sizes if all(one[name] in dims[name] for name in dims)]
            return golden, compiled, admitted, ""
    return golden, compile_model(model, example, hold=may_hold(bundle)), (), why_fixed


def _units(compiled: CompiledModel, targets: Sequence[Target]) -> tuple[Blob, list[TargetCode]]:
    """Return the code for each target, and the constants that all of them read.

    Where sizes are known at run time, code is written twice: only then does the table of sizes have those of all targets.
    """
    for _ in range(1 if compiled.graph.table is None else 2):
        blob = Blob(for_all_targets=True)
        units = [TargetCode(one, emit(compiled.wide, compiled.narrow, one, Ways(), blob)) for one in targets]
    return blob, units


def _tested(cases: Sequence[GoldenCase]) -> str:
    """Return in words which events the test runs."""
    golden = [f"{case.count} golden events" for case in cases if case.name == "golden"]
    others = [" x ".join(map(str, case.sizes)) for case in cases if case.name != "golden"]
    return " and ".join([*golden, *([f"random events of the sizes {', '.join(others)}"] if others else [])])


def _sizes(face: Interface) -> str:
    """Return the run-time sizes in words."""
    if face.sizes is None:
        return ""
    ends = [face.sizes.ends(number) for number in range(len(face.sizes.dims))]
    return ", ".join(f"{dim} {a} to {b}" for dim, (a, b) in zip(face.sizes.dims, ends, strict=True))
