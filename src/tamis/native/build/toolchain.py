"""The C compiler: which one there is, and one call of it that ends."""

from __future__ import annotations

import contextlib
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

VARIABLE = "TAMIS_CC"
NAMES = ("gcc", "clang", "cc")
LIMIT_S = 300.0
TOLD_MOST = 300  # characters of what the compiler says in an error
# No -ffast-math, neither here nor at the link, where it would change the floating-point mode of the whole process. Contraction is
# off because both ways through a program have to round alike; what the next two allow never shows in a number. The one after them
# keeps gcc 12 from an error of its own: where its loop optimiser writes an address without a base, it takes the access for one through
# a null pointer, the function around it for one without effects, and drops the call.
FLAGS = (
    "-std=gnu11",
    "-O2",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-delete-null-pointer-checks",
    "-fvisibility=hidden",
    "-w",
)
SHARED = ("-fPIC", "-shared")


@dataclass(frozen=True)
class Compiler:
    """How a compiler is called, and what it says it is."""

    command: tuple[str, ...]
    version: str

    @property
    def name(self) -> str:
        """Return what people call it."""
        return "zig cc" if "ziglang" in self.command else Path(self.command[0]).name


def find_compiler() -> Compiler:
    """Return the compiler that TAMIS_CC names, or the first of gcc, clang, cc and zig (the extra `compiler`)."""
    return _find(os.environ.get(VARIABLE, ""), os.environ.get("PATH", os.defpath))


@lru_cache(maxsize=8)
def _find(wanted: str, path: str) -> Compiler:
    if wanted:
        command = tuple(shlex.split(wanted))
        if shutil.which(command[0], path=path) is None:
            raise UsageError(f"the compiler that {VARIABLE} names, {wanted!r}, is not there")
        return Compiler(command, _version(command))
    for name in NAMES:
        found = shutil.which(name, path=path)
        if found is not None:
            return Compiler((found,), _version((found,)))
    if find_spec("ziglang") is not None:
        command = (sys.executable, "-m", "ziglang", "cc")
        return Compiler(command, _version(command))
    raise MissingExtraError(
        "the native engine needs a C compiler, and there is none (gcc, clang, cc): pip install 'tamis[compiler]', "
        f"or install gcc, or name one in {VARIABLE}"
    )


def _version(command: tuple[str, ...]) -> str:
    try:
        told = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(
            f"the compiler {shlex.join(command)} does not start: {error}; name another in {VARIABLE}"
        ) from error
    lines = told.stdout.splitlines()
    return lines[0].strip() if lines else ""


def compile_shared(
    compiler: Compiler, code: str, out: Path, flags: Sequence[str] = (), *, limit_s: float = LIMIT_S
) -> None:
    """Compile C to a shared object at `out`, whose folder takes the source too; say in one sentence why where it fails."""
    source = out.with_suffix(".c")
    source.write_text(code, encoding="utf-8")
    arguments = [*compiler.command, *FLAGS, *SHARED, *flags, "-o", str(out), str(source), "-lm"]
    code_of_exit, told = _run(compiler, arguments, limit_s)
    if code_of_exit != 0:
        ended = f"ended with {code_of_exit}" if code_of_exit > 0 else f"was killed by signal {-code_of_exit}"
        raise ModelError(
            f"the compiler {compiler.name} {ended}: {_first_error(told)}; name another in {VARIABLE}, or use engine='onnxruntime'"
        )


def _run(compiler: Compiler, arguments: Sequence[str], limit_s: float) -> tuple[int, str]:
    """Run a compiler as a group of its own, so that what it starts ends with it."""
    with _start(compiler, arguments) as process:
        try:
            _, told = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired as error:
            _end(process)
            raise ModelError(
                f"the compiler {compiler.name} was not done after {limit_s:g} s and was ended; name another in {VARIABLE}, "
                "or use engine='onnxruntime'"
            ) from error
        except BaseException:
            _end(process)
            raise
    return process.returncode, told


def _start(compiler: Compiler, arguments: Sequence[str]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
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
            f"the compiler {compiler.name} does not start: {error}; name another in {VARIABLE}"
        ) from error


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _first_error(told: str) -> str:
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    chosen = next(
        (line for line in lines if "error" in line.lower()), lines[0] if lines else "it said nothing"
    )
    return chosen[:TOLD_MOST]
