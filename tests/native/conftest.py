"""Models compiled by the C compiler at hand into one library per test, and what is asked of every one of them."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx
import pytest

from tamis._base import host_facts
from tamis.bundle import Reference
from tamis.native import Module, Ways, compile_model
from tamis.native.build import Level, find_level, host_level
from tamis.native.build.toolchain import FLAGS as TOOLCHAIN_FLAGS
from tamis.native.build.toolchain import find_compiler
from tamis.native.passes import verifying

FLAGS = tuple(flag for flag in TOOLCHAIN_FLAGS if flag != "-O2")
BATCHES = (1, 2, 3, 5, 8, 17, 40)
WAYS = {  # the last way of each is taken wherever it can be
    "lone": Ways(wide=(), narrow=(1,)),
    "narrow": Ways(wide=(), narrow=(1, 4)),
    "wide1": Ways(wide=(1,), narrow=(1,)),
    "wide2": Ways(wide=(2,), narrow=(1,)),
}
OWN_NAMES = re.compile(r"\b(narrow\d+|wide\d+|tamis_run)(_\d+|_in|_out)*\b(?= ?\()")
TOLERANCE = 1e-6  # of an output's largest value
Event = Mapping[str, np.ndarray]
HOST = find_level(
    host_level().name
)  # without this host's cache sizes, so that the code is the same everywhere


def require(level: Level) -> None:
    """Skip a test that has compiled code for an instruction set which this processor lacks."""
    missing = level.needs - set(host_facts().instruction_sets)
    if missing:
        pytest.skip(f"compiled for {level.name}, not run: this processor lacks {', '.join(sorted(missing))}")


def aligned(count: int) -> np.ndarray:
    """Return so many floats that begin at a multiple of 64 bytes."""
    room = np.full(count + 16, np.nan, np.float32)
    start = (-room.ctypes.data // 4) % 16
    return room[start : start + count]


class Compiled:
    """One module of a library."""

    def __init__(self, function: Callable[..., None], module: Module) -> None:
        self.module, self._function = module, function
        self._weights = aligned(len(module.constants))
        self._weights[:] = module.constants

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run a batch; scratch holds NaN at first, so that nothing may be read that was not written."""
        count = len(inputs[0])
        given = [np.ascontiguousarray(one, np.float32).reshape(count, -1) for one in inputs]
        found = [np.full((count, size), np.nan, np.float32) for size in self.module.outputs]
        scratch = aligned(self.module.scratch_floats)
        into = (ctypes.c_void_p * len(given))(*(one.ctypes.data for one in given))
        out = (ctypes.c_void_p * len(found))(*(one.ctypes.data for one in found))
        self._function(self._weights.ctypes.data, scratch.ctypes.data, into, out, count)
        return found


def in_one_file(modules: Mapping[str, Module]) -> str:
    """Return the code of many modules as one, each with names of its own and the header once."""
    header = files("tamis.native.c").joinpath("vector.h").read_text()
    text = [next(iter(modules.values())).code.split("\n")[0], header]
    for name, module in modules.items():
        body = module.code.split(header)[1]
        text.append(OWN_NAMES.sub(lambda found, name=name: f"{name}_{found.group()}", body))
    return "\n".join(text)


def build(
    modules: Mapping[str, Module], folder: Path, level: Level = HOST, optimise: str = "-O1"
) -> dict[str, Compiled]:
    """Compile modules into one library; skip where this processor cannot run it."""
    source, library = folder / "models.c", folder / "models.so"
    source.write_text(in_one_file(modules))
    command = [*find_compiler().command, optimise, *FLAGS, *level.flags, "-fPIC", "-shared"]
    done = subprocess.run(
        [*command, str(source), "-o", str(library), "-lm"], capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr[:4000]
    require(level)
    loaded = ctypes.CDLL(str(library))
    found = {}
    for name, module in modules.items():
        function = getattr(loaded, f"{name}_tamis_run")
        function.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_long]
        function.restype = None
        found[name] = Compiled(function, module)
    return found


@dataclass(frozen=True)
class Case:
    """A model, and events for it: arrays whose first axis is the event, each event shaped as the model takes it."""

    model: onnx.ModelProto
    events: Event
    tolerance: float = TOLERANCE

    def event(self, number: int) -> dict[str, np.ndarray]:
        """Return one event."""
        return {name: values[number] for name, values in self.events.items()}


def compiled(
    cases: Mapping[str, Case],
    folder: Path,
    ways: Mapping[str, Ways] = WAYS,
    level: Level = HOST,
    optimise: str = "-O1",
) -> dict[str, dict[str, Compiled]]:
    """Compile cases in every way."""
    modules = {
        f"{re.sub(r'[^0-9A-Za-z]', '_', name)}__{way}": last_way(
            compile_model(case.model, case.event(0), level.target, chosen).module
        )
        for name, case in cases.items()
        for way, chosen in ways.items()
    }
    built = build(modules, folder, level, optimise)
    return {
        name: {way: built[f"{re.sub(r'[^0-9A-Za-z]', '_', name)}__{way}"] for way in ways} for name in cases
    }


def last_way(module: Module) -> Module:
    """Let batches go the last of a module's ways, as far as they can."""
    return module.with_costs([*(1e9 for _ in module.ways[1:]), 1.0])


def disagreements(case: Case, ways: Mapping[str, Compiled], batches: Sequence[int] = BATCHES) -> list[str]:
    """Return what is wrong: against float64, and between ways and batches to the bit."""
    inputs = [case.events[one.name] for one in case.model.graph.input]
    first = next(iter(ways.values()))
    full = first([one[: max(batches)] for one in inputs])
    problems = _against_reference(case, full)
    for way, run in ways.items():
        for count in batches:
            got = run([one[:count] for one in inputs])
            for output, one, whole in zip(case.model.graph.output, got, full, strict=True):
                if not _same_bits(one, whole[:count]):
                    off = np.abs(one - whole[:count]).max()
                    problems.append(f"{output.name}: {way} at batch {count} has other bits (by {off:.1e})")
    return problems


def _same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    both = np.isnan(one) & np.isnan(other)
    return bool(((one.view(np.int32) == other.view(np.int32)) | both).all())


def _against_reference(case: Case, found: Sequence[np.ndarray]) -> list[str]:
    reference = Reference(case.model)
    problems = []
    for number in range(2):
        wanted = reference(case.event(number))
        for (name, want), got in zip(wanted.items(), found, strict=True):
            exact = np.asarray(want, np.float64).ravel()
            value = got[number].astype(np.float64)
            largest = np.abs(exact[np.isfinite(exact)]).max(initial=0.0) or 1.0
            with np.errstate(invalid="ignore"):
                off = np.abs(value - exact) / largest
            off[(value == exact) | (np.isnan(value) & np.isnan(exact))] = 0.0
            worst = np.max(off, initial=0.0)
            if not worst <= case.tolerance:
                problems.append(f"{name}: event {number} is off by {worst:.1e} of its largest value")
    return problems


SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
SANITIZED_MAIN = """
#include <stdio.h>
#include <stdlib.h>
typedef void (*run_t)(const float *, float *, const float *const *, float *const *, long);
static void once(run_t run, const char *file, long constants, long scratch, int inputs, const long *in, int outputs, const long *out, long n) {
    /* each place ends where a guarded one begins */
    float *w = aligned_alloc(64, 4 * constants), *s = aligned_alloc(64, 4 * scratch), *x[8], *y[8];
    FILE *f = fopen(file, "rb");
    if (!f || fread(w, 4, constants, f) != (size_t)constants) exit(3);
    fclose(f);
    for (long i = 0; i < scratch; i++) s[i] = NAN;
    for (int i = 0; i < inputs; i++) {
        x[i] = malloc(4 * n * in[i]);
        for (long k = 0; k < n * in[i]; k++) x[i][k] = (float)((k * 37 + i) % 19) / 7.0f - 1.0f;
    }
    for (int i = 0; i < outputs; i++) y[i] = malloc(4 * n * out[i]);
    run(w, s, (const float *const *)x, y, n);
    for (int i = 0; i < inputs; i++) free(x[i]);
    for (int i = 0; i < outputs; i++) free(y[i]);
    free(w);
    free(s);
}
"""


def sanitizers_work(folder: Path) -> bool:
    """Return whether the compiler has its sanitizers: some distributions package their libraries apart."""
    source, program = folder / "empty.c", folder / "empty"
    source.write_text("int main(void) { return 0; }\n")
    command = [*find_compiler().command, *SANITIZERS, str(source), "-o", str(program)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def sanitized(cases: Mapping[str, Case], folder: Path, ways: Sequence[str] = ("narrow", "wide2")) -> str:
    """Run cases as a program of their own under sanitizers, every array as long as it has to be; return what they say."""
    if not sanitizers_work(folder):
        pytest.skip(f"{find_compiler().name} cannot build an empty program with {' '.join(SANITIZERS)}")
    modules = {
        f"{re.sub(r'[^0-9A-Za-z]', '_', name)}__{way}": compile_model(
            case.model, case.event(0), HOST.target, WAYS[way]
        ).module
        for name, case in cases.items()
        for way in ways
    }
    calls = []
    for name, module in modules.items():
        (folder / f"{name}.bin").write_bytes(module.constants.tobytes())
        sizes = [f"(const long[]){{{', '.join(map(str, one))}}}" for one in (module.inputs, module.outputs)]
        calls += [
            f'once({name}_tamis_run, "{name}.bin", {len(module.constants)}, {module.scratch_floats}, '
            f"{len(module.inputs)}, {sizes[0]}, {len(module.outputs)}, {sizes[1]}, {count});"
            for count in (1, 3, 8, 17, 40)
        ]
    source, program = folder / "main.c", folder / "main"
    source.write_text(
        f"{in_one_file(modules)}\n{SANITIZED_MAIN}\nint main(void) {{\n" + "\n".join(calls) + "\n}\n"
    )
    command = [*find_compiler().command, "-O1", "-g", *FLAGS, *HOST.flags, *SANITIZERS]
    done = subprocess.run(
        [*command, str(source), "-o", str(program), "-lm"], capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr[:4000]
    ran = subprocess.run([str(program)], cwd=folder, capture_output=True, text=True, check=False)
    return ran.stderr if ran.returncode else ""


@pytest.fixture(scope="session")
def run_level() -> Callable[[Level], None]:
    """Return what skips a test whose code is compiled, but not for this processor."""
    return require


@pytest.fixture
def sanitize(tmp_path: Path) -> Callable[..., str]:
    """Return what runs cases under AddressSanitizer and UBSan."""
    return lambda cases: sanitized(cases, tmp_path)


@pytest.fixture(scope="session")
def case_of() -> type[Case]:
    """Return what holds a model and events for it."""
    return Case


def problems(
    cases: Mapping[str, Case], folder: Path, batches: Sequence[int] = BATCHES, **options: object
) -> list[str]:
    """Compile cases in every way; return what is wrong with them."""
    built = compiled(cases, folder, **options)  # type: ignore[arg-type]
    return [f"{name}: {one}" for name in cases for one in disagreements(cases[name], built[name], batches)]


@pytest.fixture(scope="session")
def problems_of() -> Callable[..., list[str]]:
    """Return what compiles cases in every way and says what is wrong."""
    return problems


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., None]:
    """Compile cases in every way and compare them with float64, and with each other to the bit."""

    def run(cases: Mapping[str, Case], **options: object) -> None:
        found = problems(cases, tmp_path, **options)  # type: ignore[arg-type]
        assert not found, "\n".join(found)

    return run


@pytest.fixture(scope="session", autouse=True)
def verified_programs() -> Iterator[None]:
    """Check every program before and after each pass of the compiler."""
    with verifying():
        yield
