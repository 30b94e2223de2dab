"""Models compiled by this host's C compiler into one library per test, and the checks that apply to all of them."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

from tamis._base import host_facts
from tamis.bundle import Reference
from tamis.cbuild import COMPILE_FLAGS, find_compiler
from tamis.native import Module, Target, Ways, compile_model
from tamis.native.passes import verifying
from tamis.native.targets import find_target, host_target

FLAGS = tuple(flag for flag in COMPILE_FLAGS if flag != "-O2")
BATCHES = (1, 2, 3, 5, 8, 17, 40)
WAYS = {  # the last kernel of each computes as many events as it can
    "lone": Ways(wide=(), narrow=(1,)),
    "narrow": Ways(wide=(), narrow=(1, 4)),
    "wide1": Ways(wide=(1,), narrow=(1,)),
    "wide2": Ways(wide=(2,), narrow=(1,)),
}
MODULE_FUNCTIONS = re.compile(r"\b(narrow\d+|wide\d+|tamis_run)(_\d+|_in|_out)*\b(?= ?\()")
TOLERANCE = 1e-6  # of an output's largest value
Event = Mapping[str, np.ndarray]
HOST = find_target(
    host_target().name
)  # with the default cache size, so that the code is the same on every host


def require(target: Target) -> None:
    """Skip a test that has compiled code for a target which this processor cannot run."""
    missing = set(target.needs) - set(host_facts().instruction_sets)
    if missing:
        pytest.skip(f"compiled for {target.name}, not run: this processor lacks {', '.join(sorted(missing))}")


def aligned(count: int) -> np.ndarray:
    """Return NaNs that begin at a multiple of 64 bytes."""
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
        """Run a batch; scratch holds NaN, so that reading it before writing shows."""
        count = len(inputs[0])
        arrays = [np.ascontiguousarray(one, np.float32).reshape(count, -1) for one in inputs]
        results = [np.full((count, size), np.nan, np.float32) for size in self.module.outputs]
        scratch = aligned(self.module.scratch_floats)
        into = (ctypes.c_void_p * len(arrays))(*(one.ctypes.data for one in arrays))
        out = (ctypes.c_void_p * len(results))(*(one.ctypes.data for one in results))
        self._function(self._weights.ctypes.data, scratch.ctypes.data, into, out, count)
        return results


def in_one_file(modules: Mapping[str, Module], target: Target) -> str:
    """Return the code of several modules as one file: their functions renamed, the target's headers once."""
    text = [target.source()]
    for name, module in modules.items():
        body = module.code.removeprefix(target.source())
        text.append(MODULE_FUNCTIONS.sub(lambda found, name=name: f"{name}_{found.group()}", body))
    return "\n".join(text)


def build(
    modules: Mapping[str, Module],
    folder: Path,
    target: Target = HOST,
    optimise: str = "-O1",
    flags: Sequence[str] = (),
) -> dict[str, Compiled]:
    """Compile modules into one library; skip if this processor cannot run it."""
    source, library = folder / "models.c", folder / "models.so"
    source.write_text(in_one_file(modules, target))
    command = [*find_compiler().command, optimise, *FLAGS, *flags, *target.flags, "-fPIC", "-shared"]
    done = subprocess.run(
        [*command, str(source), "-o", str(library), "-lm"], capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr[:4000]
    require(target)
    loaded = ctypes.CDLL(str(library))
    built = {}
    for name, module in modules.items():
        function = getattr(loaded, f"{name}_tamis_run")
        function.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_long]
        function.restype = None
        built[name] = Compiled(function, module)
    return built


@dataclass(frozen=True)
class Case:
    """A model and events for it: arrays whose first axis is the event, each event with the shape of the model's input."""

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
    target: Target = HOST,
    optimise: str = "-O1",
) -> dict[str, dict[str, Compiled]]:
    """Compile cases with each choice of kernels."""
    modules = {
        f"{re.sub(r'[^0-9A-Za-z]', '_', name)}__{way}": prefer_last(
            compile_model(case.model, case.event(0), target, chosen).module
        )
        for name, case in cases.items()
        for way, chosen in ways.items()
    }
    built = build(modules, folder, target, optimise)
    return {
        name: {way: built[f"{re.sub(r'[^0-9A-Za-z]', '_', name)}__{way}"] for way in ways} for name in cases
    }


def prefer_last(module: Module) -> Module:
    """Split batches so that the last kernel of a module computes all events that it can."""
    return module.with_costs([*(1e9 for _ in module.ways[1:]), 1.0])


def disagreements(case: Case, ways: Mapping[str, Compiled], batches: Sequence[int] = BATCHES) -> list[str]:
    """Return the deviations from float64, and the differences in bits between kernels and batches."""
    inputs = [case.events[one.name] for one in case.model.graph.input]
    first = next(iter(ways.values()))
    full = first([one[: max(batches)] for one in inputs])
    problems = _against_reference(case, full)
    for way, run in ways.items():
        for count in batches:
            results = run([one[:count] for one in inputs])
            for output, one, whole in zip(case.model.graph.output, results, full, strict=True):
                if not _same_bits(one, whole[:count]):
                    off = np.abs(one - whole[:count]).max()
                    problems.append(f"{output.name}: {way} at batch {count} has other bits (by {off:.1e})")
    return problems


def _same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    both = np.isnan(one) & np.isnan(other)
    return bool(((one.view(np.int32) == other.view(np.int32)) | both).all())


def _against_reference(case: Case, results: Sequence[np.ndarray]) -> list[str]:
    reference = Reference(case.model)
    problems = []
    for number in range(2):
        expected = reference(case.event(number))
        for (name, true), result in zip(expected.items(), results, strict=True):
            exact = np.asarray(true, np.float64).ravel()
            value = result[number].astype(np.float64)
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
    /* each array has its exact size, so that the sanitizer sees an access beyond it */
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
    """Return whether the compiler has its sanitizers: some distributions package their libraries separately."""
    source, program = folder / "empty.c", folder / "empty"
    source.write_text("int main(void) { return 0; }\n")
    command = [*find_compiler().command, *SANITIZERS, str(source), "-o", str(program)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def sanitized(cases: Mapping[str, Case], folder: Path, ways: Sequence[str] = ("narrow", "wide2")) -> str:
    """Run cases in one program under sanitizers, every array with its exact size; return what they report."""
    if not sanitizers_work(folder):
        pytest.skip(f"{find_compiler().name} cannot build an empty program with {' '.join(SANITIZERS)}")
    modules = {
        f"{re.sub(r'[^0-9A-Za-z]', '_', name)}__{way}": compile_model(
            case.model, case.event(0), HOST, WAYS[way]
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
        f"{in_one_file(modules, HOST)}\n{SANITIZED_MAIN}\nint main(void) {{\n" + "\n".join(calls) + "\n}\n"
    )
    command = [*find_compiler().command, "-O1", "-g", *FLAGS, *HOST.flags, *SANITIZERS]
    done = subprocess.run(
        [*command, str(source), "-o", str(program), "-lm"], capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr[:4000]
    ran = subprocess.run([str(program)], cwd=folder, capture_output=True, text=True, check=False)
    return ran.stderr if ran.returncode else ""


@pytest.fixture(scope="session")
def require_target() -> Callable[[Target], None]:
    """Return a function that skips a test whose code is compiled, but not for this processor."""
    return require


@pytest.fixture(scope="session")
def build_of() -> Callable[..., dict[str, Compiled]]:
    """Return a function that compiles modules into one library."""
    return build


@pytest.fixture
def sanitize(tmp_path: Path) -> Callable[..., str]:
    """Return a function that runs cases under AddressSanitizer and UBSan."""
    return lambda cases: sanitized(cases, tmp_path)


@pytest.fixture(scope="session")
def case_of() -> type[Case]:
    """Return the class of a model with events for it."""
    return Case


def problems(
    cases: Mapping[str, Case], folder: Path, batches: Sequence[int] = BATCHES, **options: object
) -> list[str]:
    """Compile cases with each choice of kernels; return their deviations."""
    built = compiled(cases, folder, **options)  # type: ignore[arg-type]
    return [f"{name}: {one}" for name in cases for one in disagreements(cases[name], built[name], batches)]


@pytest.fixture(scope="session")
def problems_of() -> Callable[..., list[str]]:
    """Return a function that compiles cases with each choice of kernels and returns their deviations."""
    return problems


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., None]:
    """Return a function that asserts that cases agree with float64, and bit for bit between kernels and batches."""

    def run(cases: Mapping[str, Case], **options: object) -> None:
        found = problems(cases, tmp_path, **options)  # type: ignore[arg-type]
        assert not found, "\n".join(found)

    return run


@pytest.fixture(scope="session", autouse=True)
def verified_programs() -> Iterator[None]:
    """Check every program before and after each pass of the compiler."""
    with verifying():
        yield
