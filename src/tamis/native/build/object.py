"""A model as a shared object: compiled once per model, event shapes, target and compiler, then read from the cache in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx

from tamis._base import ModelError, library_versions
from tamis.cbuild import COMPILE_FLAGS, CacheEntry, Compiler, cached, compile_shared, find_compiler, key_of
from tamis.native.build.timing import timed
from tamis.native.compiler import FULL_PRECISION, CompiledModel, Pipeline, compile_model, compile_sizes
from tamis.native.emission import Ways
from tamis.native.sizes import Size
from tamis.native.targets import Target, host_target

OBJECT, CONSTANTS = "code.so", "constants.bin"
FOLDING_LIBRARIES = ("numpy", "onnx")  # they evaluate what is folded into constants
COMPILER_PACKAGES = ("tamis.native", "tamis.bundle")  # their sources determine the generated code

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Built:
    """Compiled code and what is needed to call it; shapes are those of one event, or of the batch that the graph is fixed to."""

    path: Path
    constants: np.ndarray
    scratch_floats: int
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    types: tuple[str, ...]  # of inputs and outputs in the model; the code itself reads and writes floats
    cycles: float  # of one event, estimated
    row: int = 0  # of the sizes of an event, where the code is for several
    held: tuple[
        np.ndarray | None, ...
    ] = ()  # of each input the value that it has in every event, None of those that may differ


@dataclass(frozen=True)
class BuiltSizes:
    """Compiled code for events of several sizes, with what is needed to call it for each."""

    sizes: tuple[Built, ...]


@dataclass(frozen=True)
class BuiltAnySizes:
    """Compiled code that computes what follows from the sizes of several free dimensions, and what is needed to call it.

    An axis of an output is an integer, or where it varies the column of the row of sizes that it is in.
    """

    path: Path
    constants: np.ndarray
    scratch_floats: int
    columns: int  # of a row of sizes, which follow the constants
    outputs: tuple[tuple[tuple[int, bool], ...], ...]  # integers, and whether they are columns
    types: tuple[str, ...]
    cycles: float


def build(
    model: bytes,
    event: Mapping[str, np.ndarray],
    *,
    target: Target | None = None,
    compiler: Compiler | None = None,
    ways: Ways | None = None,
    precision: str = FULL_PRECISION,
    pipeline: Pipeline | None = None,
    hold: bool = True,
) -> Built:
    """Compile a model for events with the shapes of an example, or return what the cache has; `pipeline` replaces the standard passes.

    Unless `hold` is false, small inputs that shapes depend on are held at the values of the example.
    """
    target, compiler, ways = target or host_target(), compiler or find_compiler(), ways or Ways()
    shapes = [(name, array.shape, array.dtype.str) for name, array in event.items()]

    def compiled() -> CompiledModel:
        proto = onnx.load_model_from_string(model)
        return compile_model(proto, event, target, ways, precision, pipeline, hold=hold)

    key = key_of(
        model,
        shapes,
        target,
        target.source(),
        ways,
        precision,
        compiler,
        COMPILE_FLAGS,
        _compiler_sources(),
        library_versions(FOLDING_LIBRARIES),
        "" if pipeline is None else compiled().module.code,  # the source of such passes may be anywhere
        hold,
    )

    def make(folder: Path) -> dict[str, object]:
        made = compiled()
        module, graph = made.module, made.graph
        compile_shared(compiler, module.code, folder / OBJECT, target.flags)
        if target.name == host_target().name:
            module = timed(module, folder / OBJECT, event)
        (folder / CONSTANTS).write_bytes(module.constants.astype(np.float32).tobytes())
        return {
            "scratch_floats": module.scratch_floats,
            "inputs": [list(graph.types[name].shape) for name in graph.inputs],
            "outputs": [list(graph.types[name].shape) for name in graph.outputs],
            "types": [graph.types[name].dtype.name for name in (*graph.inputs, *graph.outputs)],
            "cycles": module.cycles,
            "held": [name for name in graph.inputs if name in graph.held],
            "values": [graph.held[name].tolist() for name in graph.inputs if name in graph.held],
            "names": list(graph.inputs),
        }

    entry = cached(key, make)
    values = [event[name].tolist() for name in entry.facts["held"]]
    if values != entry.facts["values"]:
        entry = cached(key_of(key, values), make)
    return _read(entry, event)


def build_sizes(
    model: bytes,
    events: Sequence[Mapping[str, np.ndarray]],
    typical: int,
    *,
    free: np.ndarray | None = None,
    target: Target | None = None,
    compiler: Compiler | None = None,
    precision: str = FULL_PRECISION,
) -> BuiltSizes:
    """Compile a model once for events with the shapes of each example, or return what the cache has.

    `free` has the sizes of the free dimensions of each.
    """
    entry = _sizes_entry(model, events, typical, free, target, compiler, precision)
    facts, constants = entry.facts, _constants(entry)
    return BuiltSizes(
        tuple(
            Built(
                path=entry.path / OBJECT,
                constants=constants,
                scratch_floats=facts["scratch_floats"],
                inputs=tuple(map(tuple, inputs)),
                outputs=tuple(map(tuple, outputs)),
                types=tuple(facts["types"]),
                cycles=facts["cycles"],
                row=row,
            )
            for row, (inputs, outputs) in enumerate(zip(facts["inputs"], facts["outputs"], strict=True))
        )
    )


def build_any_sizes(
    model: bytes,
    events: Sequence[Mapping[str, np.ndarray]],
    typical: int,
    *,
    free: np.ndarray,
    target: Target | None = None,
    compiler: Compiler | None = None,
    precision: str = FULL_PRECISION,
) -> BuiltAnySizes:
    """Compile a model once for all sizes of several free dimensions, or return what the cache has; the events are examples of them."""
    entry = _sizes_entry(model, events, typical, free, target, compiler, precision)
    facts = entry.facts
    return BuiltAnySizes(
        path=entry.path / OBJECT,
        constants=_constants(entry),
        scratch_floats=facts["scratch_floats"],
        columns=facts["columns"],
        outputs=tuple(tuple((int(a), bool(b)) for a, b in shape) for shape in facts["output_axes"]),
        types=tuple(facts["types"]),
        cycles=facts["cycles"],
    )


def _sizes_entry(
    model: bytes,
    events: Sequence[Mapping[str, np.ndarray]],
    typical: int,
    free: np.ndarray | None,
    target: Target | None,
    compiler: Compiler | None,
    precision: str,
) -> CacheEntry:
    target, compiler = target or host_target(), compiler or find_compiler()
    shapes = [[(name, array.shape, array.dtype.str) for name, array in event.items()] for event in events]
    key = key_of(
        model, shapes, typical, "" if free is None else free.shape, target, target.source(), precision, compiler,
        COMPILE_FLAGS, _compiler_sources(), library_versions(FOLDING_LIBRARIES),
    )  # fmt: skip

    def make(folder: Path) -> dict[str, object]:
        made = compile_sizes(onnx.load_model_from_string(model), events, typical, target, precision, free)
        module, graph = made.module, made.graph
        compile_shared(compiler, module.code, folder / OBJECT, target.flags)
        (folder / CONSTANTS).write_bytes(module.constants.astype(np.float32).tobytes())
        return {
            "scratch_floats": module.scratch_floats,
            "columns": module.columns,
            "inputs": [[graph.shape_in(row, name) for name in graph.inputs] for row in range(graph.rows)],
            "outputs": [[graph.shape_in(row, name) for name in graph.outputs] for row in range(graph.rows)],
            "output_axes": [[_axis(one) for one in graph.types[name].shape] for name in graph.outputs],
            "types": [graph.types[name].dtype.name for name in (*graph.inputs, *graph.outputs)],
            "cycles": module.cycles,
        }

    return cached(key, make)


def _axis(size: int) -> tuple[int, bool]:
    """Return an integer and False, or the column of a size and True."""
    return (size.table.column(size.values), True) if isinstance(size, Size) else (size, False)


def _constants(entry: CacheEntry) -> np.ndarray:
    try:
        return np.fromfile(entry.path / CONSTANTS, np.float32)
    except OSError as error:
        raise ModelError(
            f"the compiled model in {entry.path} was removed ({error.strerror}); open the model again"
        ) from error


def _read(entry: CacheEntry, event: Mapping[str, np.ndarray]) -> Built:
    facts = entry.facts
    return Built(
        path=entry.path / OBJECT,
        constants=_constants(entry),
        scratch_floats=facts["scratch_floats"],
        inputs=tuple(tuple(shape) for shape in facts["inputs"]),
        outputs=tuple(tuple(shape) for shape in facts["outputs"]),
        types=tuple(facts["types"]),
        cycles=facts["cycles"],
        held=tuple(event[name].copy() if name in facts["held"] else None for name in facts["names"])
        if facts["held"]
        else (),
    )


@cache
def _compiler_sources() -> str:
    """Return the hash of the compiler's own sources, since another version of it generates other code."""
    found: list[bytes] = []
    for package in COMPILER_PACKAGES:
        root = Path(str(files(package)))
        for path in sorted(root.rglob("*")):
            if path.suffix in (".py", ".h", ".c"):
                found += [str(path.relative_to(root)).encode(), path.read_bytes()]
    return key_of(*found)
