"""Facts about the host, the library versions and the time, stored with every record."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter_ns

from tamis._base.documents import Document

now_ns = perf_counter_ns  # the clock of all durations
RECORDED_LIBRARIES = (
    "tamis",
    "numpy",
    "onnx",
    "onnxruntime",
    "openvino",
    "torch",
    "awkward",
    "uproot",
    "pythia8mc",
    "fastjet",
)
CPU_CACHE_FOLDER = Path("/sys/devices/system/cpu/cpu0/cache")
USUAL_CACHE_BYTES = 40_000_000  # where the system does not report it
INSTRUCTION_SETS = (
    "avx2",
    "fma",
    "f16c",
    "bmi1",
    "bmi2",
    "avx512f",
    "avx512dq",
    "avx512cd",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_tile",
    "asimd",
    "sve",
)
# The levels of the x86-64 psABI, highest first, by what each adds to the level below it, as /proc/cpuinfo calls it.
PROCESSOR_LEVELS = {
    "x86-64-v4": ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
    "x86-64-v3": ("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"),
    "x86-64-v2": ("cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"),
    "x86-64-v1": (),
}
# CPUID leaf (0: CPUID 1, 1: CPUID 7.0, 2: CPUID 8000_0001, 6: CPUID 7.1), register (eax, ebx, ecx, edx) and bit of each. Intel SDM, volume 2A, table 3-8.
CPUID_BITS = {
    "avx2": (1, 1, 5),
    "fma": (0, 2, 12),
    "f16c": (0, 2, 29),
    "bmi1": (1, 1, 3),
    "bmi2": (1, 1, 8),
    "avx512f": (1, 1, 16),
    "avx512dq": (1, 1, 17),
    "avx512cd": (1, 1, 28),
    "avx512bw": (1, 1, 30),
    "avx512vl": (1, 1, 31),
    "avx512_vnni": (1, 2, 11),
    "avx_vnni": (6, 0, 4),
    "avx512_bf16": (6, 0, 5),
    "amx_tile": (1, 3, 24),
    "ssse3": (0, 2, 9),
    "cx16": (0, 2, 13),
    "sse4_1": (0, 2, 19),
    "sse4_2": (0, 2, 20),
    "movbe": (0, 2, 22),
    "popcnt": (0, 2, 23),
    "avx": (0, 2, 28),
    "lahf_lm": (2, 2, 0),
    "abm": (2, 2, 5),
}


class Host(Document):
    """The host that a measurement ran on."""

    cpu: str
    cores: int
    memory_bytes: int
    largest_cache_bytes: int = USUAL_CACHE_BYTES
    instruction_sets: tuple[str, ...]
    system: str
    python: str
    versions: dict[str, str]


@lru_cache(maxsize=1)
def host_facts() -> Host:
    """Return the facts about this host."""
    import psutil

    cpu, flags = _cpu()
    caches = []
    for file in CPU_CACHE_FOLDER.glob("index*/size"):
        match = re.fullmatch(r"(\d+)([KMG]?)", file.read_text(encoding="ascii").strip())
        if match:
            caches.append(int(match[1]) * {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[match[2]])
    return Host(
        cpu=cpu,
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=psutil.virtual_memory().total,
        largest_cache_bytes=max(caches, default=USUAL_CACHE_BYTES),
        instruction_sets=tuple(name for name in INSTRUCTION_SETS if name in flags and _is_active(name)),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        versions=library_versions(),
    )


def processor_level() -> str:
    """Return the x86-64 level of this processor, such as x86-64-v3; on other machines their name, such as aarch64."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return platform.machine()
    _, flags = _cpu()
    reached = "x86-64-v1"
    for level, needed in reversed(PROCESSOR_LEVELS.items()):
        if not all(name in flags and _is_active(name) for name in needed):
            break
        reached = level
    return reached


@lru_cache(maxsize=8)
def _versions(libraries: tuple[str, ...]) -> dict[str, str]:
    versions = {}
    for name in libraries:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def library_versions(libraries: tuple[str, ...] = RECORDED_LIBRARIES) -> dict[str, str]:
    """Return the versions of the installed ones among some libraries, without importing them."""
    return dict(_versions(libraries))


class _CpuidLeaf(ctypes.Structure):
    """glibc's `struct cpuid_feature`: the bits that CPUID reports, and those that the operating system enables."""

    _fields_ = [("cpuid", ctypes.c_uint * 4), ("active", ctypes.c_uint * 4)]


def _is_active(name: str) -> bool:
    """Return whether CPUID reports an instruction set as enabled; True where CPUID cannot be read.

    /proc/cpuinfo alone is not enough: under qemu-user it describes the host, not the emulated processor.
    """
    if name not in CPUID_BITS:
        return True
    try:
        leaf_of = ctypes.CDLL(None).__x86_get_cpuid_feature_leaf  # glibc 2.33 or later, x86 only
    except (AttributeError, OSError):
        return True
    leaf_of.argtypes, leaf_of.restype = [ctypes.c_uint], ctypes.POINTER(_CpuidLeaf)
    leaf, register, bit = CPUID_BITS[name]
    return bool(leaf_of(leaf).contents.active[register] >> bit & 1)


def _cpu() -> tuple[str, frozenset[str]]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine(), frozenset()
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    facts = {key.strip(): value.strip() for key, value in pairs}
    flags = frozenset((facts.get("flags") or facts.get("Features") or "").split())
    return facts.get("model name", platform.machine()), flags


def utc_timestamp() -> str:
    """Return the current time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0).isoformat()


def file_stamp(created: str) -> str:
    """Return an ISO 8601 time in the form used in file names: 20261121T163229."""
    return created[:19].replace("-", "").replace(":", "")
