"""What `tamis doctor` looks at: libraries, compiler, processor, cores, memory, folders, variables."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Literal

from tamis._base import (
    MissingExtraError,
    TamisError,
    did_you_mean,
    host_facts,
    human_bytes,
    processor_level,
    usable_cores,
    usable_memory_bytes,
)
from tamis._base.libraries import (
    EXTRAS,
    Library,
    environment,
    imported,
    install_command,
    needed_libraries,
)
from tamis.cbuild import cache_root, find_compiler, try_compiler

VARIABLES = {  # every environment variable that tamis reads
    "TAMIS_CACHE": "folder of compiled code",
    "TAMIS_CC": "the C compiler",
    "TAMIS_PROFILES": "folder of further formats of event files",
    "TAMIS_TOKEN": "bearer token of clients",
    "TAMIS_TRACEBACK": "tracebacks of internal errors",
}
TOOLS = {  # programs that firmware needs
    "verilator": "the simulation of firmware, bit by bit (`tamis firmware --verify`)",
    "ghdl": "the simulation of firmware in VHDL (`tamis firmware --hdl vhdl --verify`)",
    "yosys": "the resources of firmware: LUT, flip-flops, DSP (`tamis firmware`)",
}
HIDDEN = "TAMIS_TOKEN"
CPU_TORCH = "https://download.pytorch.org/whl/cpu"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux has it
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")

State = Literal["ok", "missing", "broken", "set"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. Not a `Document`: the doctor has to work with a wrong version of pydantic, too."""

    area: str
    name: str
    state: State
    found: str
    brings: str = ""  # what it would bring, where it is missing
    remedy: str = ""  # a command that gets it, or what to do
    value: float | None = None  # the number in `found`: cores or bytes


@dataclass(frozen=True)
class Diagnosis:
    """What this host has, and whether it is enough to use tamis at all."""

    tamis: str
    python: str
    executable: str
    usable: bool
    findings: tuple[Finding, ...]


def diagnose(version: str) -> Diagnosis:
    """Look at everything; nothing is changed, except that the cache folder is created if it is missing."""
    base = check_base()
    findings = (
        *base,
        *check_compiler(),
        *check_tools(),
        *check_processor(),
        *check_machine(),
        *check_folders(),
        *check_variables(),
        *check_extras(),
    )
    return Diagnosis(
        tamis=version,
        python=platform.python_version(),
        executable=sys.executable,
        usable=all(one.state == "ok" for one in base),
        findings=findings,
    )


def check_base() -> list[Finding]:
    """Python and the libraries that tamis cannot do without."""
    python = Finding(
        area="base",
        name="Python",
        state="ok",
        found=f"{platform.python_version()}, {environment()}, {sys.executable}",
    )
    try:
        (libraries,) = imported([needed_libraries()])
    except PackageNotFoundError:
        missing = Finding(
            area="base",
            name="tamis",
            state="broken",
            found="runs from its source folder, and is not installed",
            brings="engines, features and shipped bundles, which are found through the installed package",
            remedy="cd to the source folder, then: pip install .",
        )
        return [python, missing]
    problems = [library for library in libraries if library.problem]
    good = len(libraries) - len(problems)
    versions = ", ".join(f"{one.name} {one.version}" for one in libraries if not one.problem)
    rows = [
        Finding(
            area="base",
            name=one.name,
            state="missing" if one.version is None else "broken",
            found=f"{one.problem} ({one.place}, from PYTHONPATH)" if one.place else one.problem,
            brings="everything: tamis needs it",
            remedy="unset PYTHONPATH (docs/install.md, Views of libraries)"
            if one.place
            else install_command(one.requirement),
        )
        for one in problems
    ]
    whole = Finding(
        area="base", name="libraries", state="ok", found=f"{good} of {len(libraries)} work: {versions}"
    )
    return [python, whole, *rows]


def check_extras() -> Iterator[Finding]:
    """The extras, each with its libraries."""
    try:
        groups = imported([needed_libraries(extra) for extra in EXTRAS])
    except PackageNotFoundError:
        return  # told by check_base
    for (extra, purpose), libraries in zip(EXTRAS.items(), groups, strict=True):
        problems = [library for library in libraries if library.problem]
        if not problems:
            versions = ", ".join(f"{one.name} {one.version}" for one in libraries)
            yield Finding(area="extras", name=extra, state="ok", found=versions)
            continue
        yield Finding(
            area="extras",
            name=extra,
            state="missing" if any(one.version is None for one in problems) else "broken",
            found=_listed(problems),
            brings=purpose,
            remedy=_extra_command(extra, problems),
        )


def _listed(problems: Iterable[Library]) -> str:
    """Return the problems in words, libraries with the same problem together."""
    names: dict[str, list[str]] = {}
    for one in problems:
        names.setdefault(one.problem, []).append(one.name)
    return "; ".join(f"{', '.join(libraries)}: {problem}" for problem, libraries in names.items())


def _extra_command(extra: str, problems: Iterable[Library]) -> str:
    """Return the command that installs an extra; without an NVIDIA driver, PyTorch's build for CPUs first."""
    torch = next((one for one in problems if one.name == "torch" and one.version is None), None)
    is_cpu_only = torch is not None and not NVIDIA_DRIVER.exists()
    return install_command(
        f"tamis[{extra}]",
        first=f"{torch.requirement} --index-url={CPU_TORCH}" if torch and is_cpu_only else "",
    )


def check_compiler() -> Iterator[Finding]:
    """The C compiler: found, and it compiles code that runs."""
    brings = (
        "the engine `native` (generated code, the fastest for small models) and a faster loop over events; "
        "with root, Debian's packages gcc and libc6-dev bring it, too"
    )
    remedy = "unset TAMIS_CC" if os.environ.get("TAMIS_CC") else install_command("tamis[compiler]")
    try:
        compiler = find_compiler()
        with tempfile.TemporaryDirectory(prefix="tamis-doctor-", dir=_compile_folder()) as folder:
            try_compiler(compiler, Path(folder))
    except (TamisError, OSError) as error:
        is_missing = isinstance(error, MissingExtraError)
        yield Finding(
            area="compiler",
            name="C compiler",
            state="missing" if is_missing else "broken",
            found="none was found (gcc, clang, cc)" if is_missing else str(error),
            brings=brings,
            remedy=remedy,
        )
    else:
        line = compiler.version or compiler.name
        yield Finding(
            area="compiler",
            name=compiler.name,
            state="ok",
            found=f"{line}: compiles, and the code runs",
        )


def check_tools() -> Iterator[Finding]:
    """The programs that simulate and synthesise firmware."""
    for name, brings in TOOLS.items():
        found = shutil.which(name)
        yield Finding(
            area="compiler",
            name=name,
            state="missing" if found is None else "ok",
            found="not found" if found is None else found,
            brings="" if found else brings,
            remedy="" if found else f"apt-get install {name} (on Debian, as root)",
        )


def _compile_folder() -> str | None:
    """Return the cache folder, where compiled code is loaded from, or None for the temporary folder."""
    try:
        root = cache_root()
    except (TamisError, OSError):
        return None
    return None if _write_problem(root, loads_code=True) else str(root)


def check_processor() -> Iterator[Finding]:
    """The processor's level, and the instruction sets that matter here."""
    host, level = host_facts(), processor_level()
    yield Finding(area="processor", name=level, state="ok", found=host.cpu)
    if not level.startswith("x86-64"):
        return
    sets = set(host.instruction_sets)
    for name, needed, brings in (
        ("AVX2", {"avx2", "fma"}, "faster inference in every engine"),
        ("AVX-512", {"avx512f", "avx512dq", "avx512bw", "avx512vl"}, "generated code with twice the width"),
        ("VNNI", {"avx512_vnni"} if "avx512_vnni" in sets else {"avx_vnni"}, "8-bit models with `openvino`"),
    ):
        is_there = needed <= sets
        yield Finding(
            area="processor",
            name=name,
            state="ok" if is_there else "missing",
            found="used" if is_there else "not in this processor",
            brings="" if is_there else brings,
            remedy="" if is_there else "nothing to install; decisions are the same without it",
        )


def check_machine() -> Iterator[Finding]:
    """Cores and memory that this process may use."""
    import psutil

    cores, all_cores = usable_cores(), os.cpu_count() or 1
    limited = " (limited by CPU affinity or a control group)" if cores < all_cores else ""
    yield Finding(
        area="machine",
        name="cores",
        state="ok",
        found=f"{cores:g} of {all_cores} can be used{limited}",
        value=cores,
    )
    memory, all_memory = usable_memory_bytes(), psutil.virtual_memory().total
    limited = " (limited by a control group)" if memory < all_memory else ""
    yield Finding(
        area="machine",
        name="memory",
        state="ok",
        found=f"{human_bytes(memory)} of {human_bytes(all_memory)} can be used{limited}",
        value=memory,
    )


def check_folders() -> Iterator[Finding]:
    """The folders that tamis writes to."""
    yield _folder(
        "cache",
        cache_root,
        "compiled code that is kept for the next run instead of compiled again",
        "export TAMIS_CACHE=/scratch/$USER/tamis, or another folder of your own",
        loads_code=True,
    )
    yield _folder(
        "TMPDIR",
        lambda: Path(os.environ.get("TMPDIR") or tempfile.gettempdir()),
        "temporary files of servers and exports, and compiled code where there is no cache",
        "export TMPDIR=/scratch/$USER, or another folder that you can write",
    )
    yield _folder(
        str(SHARED_MEMORY),
        lambda: SHARED_MEMORY,
        "tensors in shared memory between servers and clients, and `tamis simulate --workers`",
        "in containers: podman run --shm-size 1g ..., or --ipc host",
    )


def _folder(
    name: str, place: Callable[[], Path], brings: str, remedy: str, *, loads_code: bool = False
) -> Finding:
    try:
        path = place()
        problem = _write_problem(path, loads_code=loads_code)
    except TamisError as error:
        problem = str(error)
    except OSError as error:
        problem = f"{error.filename or name} cannot be written: {error.strerror or error}"
    if problem:
        return Finding(
            area="folders",
            name=name,
            state="broken",
            found=problem,
            brings=brings,
            remedy=remedy,
        )
    facts = os.statvfs(path)
    free = facts.f_bavail * facts.f_frsize
    size = facts.f_blocks * facts.f_frsize
    return Finding(
        area="folders",
        name=name,
        state="ok",
        found=f"{path}, writable, {human_bytes(free)} of {human_bytes(size)} free",
        value=free,
    )


def _write_problem(path: Path, *, loads_code: bool) -> str:
    """Write a small file, which tells more than permissions do; return why a folder cannot be used, or an empty string."""
    try:
        with tempfile.NamedTemporaryFile(prefix=".tamis-doctor-", dir=path) as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        return f"{path} cannot be written: {error.strerror or error}"
    if loads_code and os.statvfs(path).f_flag & os.ST_NOEXEC:
        return f"{path} is mounted with noexec: compiled code cannot be loaded from it"
    return ""


def check_variables() -> Iterator[Finding]:
    """The environment variables that begin with TAMIS_."""
    for name in sorted(os.environ):
        if not name.startswith("TAMIS_"):
            continue
        if name in VARIABLES:
            value = "(not shown)" if name == HIDDEN else os.environ[name]
            yield Finding(area="variables", name=name, state="set", found=f"{value}: {VARIABLES[name]}")
        else:
            yield Finding(
                area="variables",
                name=name,
                state="broken",
                found=f"tamis reads no such variable; {did_you_mean(name, VARIABLES)}".rstrip("; "),
                remedy=f"unset {name}",
            )
