"""The libraries that tamis needs and those of its extras: which are installed, in which version, and whether they can be imported."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, distribution, requires
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

from tamis._base.progress import progress

DISTRIBUTION = "tamis"
EXTRAS = {  # what each brings; `all` is the sum, and `test`, `docs` and `dev` are for developers
    "simulate": "simulated collisions (`tamis simulate`, `tamis demo`)",
    "plot": "figures and HTML reports",
    "openvino": "the engine `openvino`",
    "torch": "the engine `torch`, TorchScript models, training",
    "keras": "packing Keras models",
    "compiler": "a C compiler (zig) for the engine `native` where gcc or clang is missing",
    "dask": "runs on several machines",
    "serve": "servers and their clients (`tamis serve`, `tamis load`)",
    "remote": "event files behind HTTP",
    "farm": "sizing a farm of servers (`tamis farm`)",
    "fpga": "firmware of quantised bundles (`tamis firmware`)",
    "place": "place and route of firmware on an ECP5 (`tamis firmware --place`)",
    "hls4ml": "quantised bundles as hls4ml projects (`tamis export --to hls4ml`)",
    "tracking": "tracks from the cells of a silicon detector (`tamis track`)",
    "acts": "cells of a silicon detector by ACTS (`tamis simulate tracks --with acts`)",
    "cuda": "stages of `tamis track` on an NVIDIA GPU, or in Numba's simulator of one",
    "memory": "heap measurements in `tamis bench`",
}
MODULES = {
    "protobuf": "google.protobuf",
    "pyyaml": "yaml",
    "pyacts": "acts",
}  # where the name is not the library's
IMPORT_LIMIT_S = 120.0
MESSAGE_CHARACTERS = 200  # of an error that are quoted
# Imports one module after the other and prints a JSON list per module, so that after a crash the culprit is known. It ends without
# clean-up, which takes some libraries 20 s. Keras is given no home, so that it writes no configuration into the user's home.
PROBE = """
import importlib, json, os, sys
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ["KERAS_HOME"] = os.devnull
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
        problem = ""
    except BaseException as error:
        problem = f"{type(error).__name__}: {error}"
    print(json.dumps([name, problem]), file=out, flush=True)
os._exit(0)
"""


@dataclass(frozen=True)
class Library:
    """An installed or missing library; `problem` is empty if it can be used.

    Not a `Document`: this module has to work with a wrong version of pydantic, too.
    """

    name: str
    requirement: str
    version: str | None
    problem: str = ""
    place: str = ""  # the folder of PYTHONPATH that it comes from


def needed_libraries(extra: str = "") -> list[Library]:
    """Return the libraries that tamis itself needs, or one of its extras, without importing them.

    Raises PackageNotFoundError if tamis is not installed, but runs from its source folder.
    """
    return [_installed(requirement) for requirement in _requirements(extra)]


def wrong_libraries() -> list[str]:
    """Return what tamis needs and has not, or has in a wrong version, in words."""
    try:
        return [f"{one.name}: {one.problem}" for one in needed_libraries() if one.problem]
    except PackageNotFoundError:
        return []


def _requirements(extra: str) -> list[Requirement]:
    declared = [Requirement(line) for line in requires(DISTRIBUTION) or []]
    base = [one for one in declared if one.marker is None or one.marker.evaluate({"extra": ""})]
    if not extra:
        return base
    return [
        one for one in declared if one not in base and one.marker and one.marker.evaluate({"extra": extra})
    ]


def _installed(requirement: Requirement) -> Library:
    wanted = f"{requirement.name}{requirement.specifier}"
    try:
        found = distribution(requirement.name)
    except PackageNotFoundError:
        return Library(name=requirement.name, requirement=wanted, version=None, problem="not installed")
    fits = requirement.specifier.contains(found.version, prereleases=True)
    place = str(found.locate_file("")).rstrip("/")
    is_forced = place in [entry.rstrip("/") for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return Library(
        name=requirement.name,
        requirement=wanted,
        version=found.version,
        problem="" if fits else f"version {found.version} is installed, {requirement.specifier} is needed",
        place=place if is_forced else "",
    )


def imported(groups: Sequence[Sequence[Library]], limit_s: float = IMPORT_LIMIT_S) -> list[list[Library]]:
    """Return the libraries again, with the reason where one cannot be imported; each group in a process of its own."""
    found = []
    with (
        ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool,
        progress("importing libraries", len(groups), "groups") as advance,
    ):
        for problems in pool.map(lambda group: _import_problems(group, limit_s), groups):
            found.append(problems)
            advance(1)
    return [
        [replace(library, problem=library.problem or problems.get(library.name, "")) for library in group]
        for group, problems in zip(groups, found, strict=True)
    ]


def _import_problems(group: Sequence[Library], limit_s: float) -> dict[str, str]:
    """Return why libraries cannot be imported; after a crash, a new process goes on with those behind it."""
    waiting = [library.name for library in group if library.version is not None]
    problems = {}
    while waiting:
        modules = [MODULES.get(name.lower(), name.replace("-", "_")) for name in waiting]
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-c", PROBE, *modules],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=limit_s,
                check=False,
            )
            output, ended = done.stdout, _ending(done.returncode)
        except subprocess.TimeoutExpired as error:
            output, ended = error.stdout or b"", f"importing it takes more than {limit_s:g} s"
        reported = [json.loads(line)[1] for line in output.decode(errors="replace").splitlines()]
        for name, problem in zip(waiting, reported, strict=False):
            if problem:
                problems[name] = f"cannot be imported: {' '.join(problem.split())[:MESSAGE_CHARACTERS]}"
        waiting = waiting[len(reported) :]
        if waiting:
            problems[waiting.pop(0)] = ended
    return problems


def _ending(code: int) -> str:
    if code >= 0:
        return f"cannot be imported: Python exits with code {code}"
    name = signal.Signals(-code).name
    hint = " (it uses instructions that this processor lacks)" if name == "SIGILL" else ""
    return f"cannot be imported: Python is killed by {name}{hint}"


def environment() -> str:
    """Return what kind of Python installation this is, in words."""
    if (Path(sys.prefix) / "conda-meta").is_dir():
        return "conda environment"
    if sys.prefix != sys.base_prefix:
        return "virtual environment"
    return "system's Python"


def install_command(requirement: str, *, first: str = "") -> str:
    """Return the command that installs a requirement for this Python, or into a new environment if this one is not the user's.

    `first` are the arguments of a pip command that has to run before.
    """
    python, arguments = _python(), [*filter(None, [first]), shlex.quote(requirement)]
    stdlib, packages = (Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib"))
    is_own = sys.prefix != sys.base_prefix
    if os.access(packages, os.W_OK) and (is_own or not (stdlib / "EXTERNALLY-MANAGED").is_file()):
        uv = f"uv pip install --python={shlex.quote(sys.executable)}"
        pip = uv if find_spec("pip") is None and shutil.which("uv") else f"{python} -m pip install"
        return " && ".join(f"{pip} {one}" for one in arguments)
    new = "~/tamis-env" if os.access(Path.home(), os.W_OK) else "./tamis-env"
    pips = [f"{new}/bin/python -m pip install {one}" for one in arguments]
    if not is_own:
        return " && ".join([f"{python} -m venv --system-site-packages {new}", *pips])
    # A virtual environment inside a virtual environment does not see its packages.
    seen = f"{new}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages/outer.pth"
    return " && ".join([f"{python} -m venv {new}", f"echo {shlex.quote(str(packages))} > {seen}", *pips])


def _python() -> str:
    """Return how to call this Python: by name if the shell finds it under that name, else by path."""
    here = Path(sys.executable)
    for name in ("python", "python3"):
        found = shutil.which(name)
        # In the same folder, too: the links of two virtual environments may lead to the same Python.
        if found and Path(found).parent == here.parent and Path(found).samefile(here):
            return name
    return shlex.quote(sys.executable)
