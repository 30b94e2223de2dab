"""Facts about the host and the libraries, kept with every record."""

from __future__ import annotations

import os
import platform
import re
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from quickbeam._base.documents import Document

LIBRARIES = (
    "quickbeam",
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
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
USUAL_CACHE_BYTES = 40_000_000  # where the system does not tell
INSTRUCTION_SETS = (
    "avx2",
    "fma",
    "avx512f",
    "avx512dq",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "amx_tile",
    "asimd",
    "sve",
)


class Host(Document):
    """What ran a measurement."""

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
    return Host(
        cpu=cpu,
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=psutil.virtual_memory().total,
        largest_cache_bytes=_largest_cache(),
        instruction_sets=tuple(name for name in INSTRUCTION_SETS if name in flags),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        versions=library_versions(),
    )


@lru_cache(maxsize=8)
def _versions(libraries: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def library_versions(libraries: tuple[str, ...] = LIBRARIES) -> dict[str, str]:
    """Return the versions of those libraries that are installed, without importing them."""
    return dict(_versions(libraries))


def _largest_cache() -> int:
    sizes = []
    for file in CACHES.glob("index*/size"):
        found = re.fullmatch(r"(\d+)([KMG]?)", file.read_text(encoding="ascii").strip())
        if found:
            sizes.append(int(found[1]) * {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[found[2]])
    return max(sizes, default=USUAL_CACHE_BYTES)


def _cpu() -> tuple[str, frozenset[str]]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine(), frozenset()
    facts = dict(part.split(":", 1) for part in lines if ":" in part)
    table = {key.strip(): value.strip() for key, value in facts.items()}
    flags = frozenset((table.get("flags") or table.get("Features") or "").split())
    return table.get("model name", platform.machine()), flags
