"""The C compiler: find one, and run it with a time limit."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from tamis._base import MissingExtraError, ModelError, UsageError

COMPILER_VARIABLE = "TAMIS_CC"
COMPILER_NAMES = ("gcc", "clang", "cc")
COMPILE_LIMIT_S = 300.0
ERROR_CHARACTERS = 300  # of the compiler's first error that are quoted

# What decides the bits of the results; the engine and exported projects compile with the same ones. Never -ffast-math, which at the
# link also changes the floating-point mode of the whole process. Contraction is off because all kernels of a model have to round
# alike; the next two flags have no effect on results. -fno-delete-null-pointer-checks works around a bug of gcc 12: its loop
# optimiser writes an address without a base, a later pass takes the access for one through a null pointer and the function around it
# for one without side effects, and drops the call.
NUMERIC_FLAGS = (
    "-O2",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-delete-null-pointer-checks",
)
COMPILE_FLAGS = ("-std=gnu11", *NUMERIC_FLAGS, "-fvisibility=hidden", "-w")
SHARED_FLAGS = ("-fPIC", "-shared")
TRIAL_LIMIT_S = 60.0
# The headers of generated code; fails to compile where the C library's headers are missing.
TRIAL_CODE = """
#include <math.h>
#include <stdint.h>
#include <string.h>
__attribute__((visibility("default"))) int32_t trial(double x) { return (int32_t)lround(sqrt(x)); }
"""


@dataclass(frozen=True)
class Compiler:
    """A compiler: the command that starts it, and its version line."""

    command: tuple[str, ...]
    version: str

    @property
    def name(self) -> str:
        """Return its usual name, for messages."""
        return "zig cc" if "ziglang" in self.command else Path(self.command[0]).name


def find_compiler() -> Compiler:
    """Return the compiler that TAMIS_CC names, or the first of gcc, clang, cc and zig (the extra `compiler`)."""
    return _find(os.environ.get(COMPILER_VARIABLE, ""), os.environ.get("PATH", os.defpath))


@lru_cache(maxsize=8)
def _find(requested: str, path: str) -> Compiler:
    if requested:
        command = tuple(shlex.split(requested))
        if shutil.which(command[0], path=path) is None:
            raise UsageError(
                f"the compiler {requested!r} that {COMPILER_VARIABLE} names was not found; "
                "check its path, or unset the variable"
            )
        return Compiler(command, _version(command))
    for name in COMPILER_NAMES:
        found = shutil.which(name, path=path)
        if found is not None:
            return Compiler((found,), _version((found,)))
    if find_spec("ziglang") is not None:
        command = (sys.executable, "-m", "ziglang", "cc")
        return Compiler(command, _version(command))
    raise MissingExtraError(
        "the native engine needs a C compiler, and none was found (gcc, clang, cc): pip install 'tamis[compiler]', "
        f"or install gcc, or name one in {COMPILER_VARIABLE}"
    )


def _version(command: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(
            f"the compiler {shlex.join(command)} does not start: {error}; name another in {COMPILER_VARIABLE}"
        ) from error
    lines = done.stdout.splitlines()
    return lines[0].strip() if lines else ""


def compile_shared(
    compiler: Compiler, code: str, out: Path, flags: Sequence[str] = (), *, limit_s: float = COMPILE_LIMIT_S
) -> None:
    """Compile C to a shared object at `out`; the source is kept beside it. Raises ModelError with the first error."""
    source = out.with_suffix(".c")
    source.write_text(code, encoding="utf-8")
    arguments = [*compiler.command, *COMPILE_FLAGS, *SHARED_FLAGS, *flags, "-o", str(out), str(source), "-lm"]
    exit_code, output = _run(compiler, arguments, limit_s)
    if exit_code == 0:
        return
    ended = f"exited with code {exit_code}" if exit_code > 0 else f"was killed by signal {-exit_code}"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    first = next(
        (line for line in lines if "error:" in line.lower()), lines[0] if lines else "it printed nothing"
    )
    raise ModelError(
        f"the compiler {compiler.name} {ended}: {first[:ERROR_CHARACTERS]}; "
        f"name another in {COMPILER_VARIABLE}, or use engine='onnxruntime'"
    )


def try_compiler(compiler: Compiler, folder: Path) -> None:
    """Compile a few lines in a folder, load and call them; raises TamisError with the reason where that fails."""
    out = folder / "trial.so"
    compile_shared(compiler, TRIAL_CODE, out, limit_s=TRIAL_LIMIT_S)
    try:
        trial = ctypes.CDLL(str(out)).trial
    except (OSError, AttributeError) as error:
        raise ModelError(
            f"what the compiler {compiler.name} makes cannot be loaded ({error}); name another in {COMPILER_VARIABLE}"
        ) from error
    trial.argtypes, trial.restype = [ctypes.c_double], ctypes.c_int32
    if trial(1764.0) != 42:
        raise ModelError(
            f"the compiler {compiler.name} makes code with wrong results; name another in {COMPILER_VARIABLE}"
        )


def _run(compiler: Compiler, arguments: Sequence[str], limit_s: float) -> tuple[int, str]:
    """Run a compiler in a process group of its own, so that its children are killed with it."""
    try:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
        )
    except OSError as error:
        raise UsageError(
            f"the compiler {compiler.name} does not start: {error}; name another in {COMPILER_VARIABLE}"
        ) from error
    with process:
        try:
            _, output = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired as error:
            _kill(process)
            raise ModelError(
                f"the compiler {compiler.name} was killed after {limit_s:g} s; "
                f"name another in {COMPILER_VARIABLE}, or use engine='onnxruntime'"
            ) from error
        except BaseException:
            _kill(process)
            raise
    return process.returncode, output


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
