"""What processors code is made for, and which of them this host is."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from tamis._base import UsageError, did_you_mean, host_facts
from tamis.native.emission import Target


@dataclass(frozen=True)
class Level:
    """A set of instructions: what code for it looks like, what the compiler is told, what a processor has to have."""

    name: str
    target: Target
    flags: tuple[str, ...]
    needs: frozenset[str]  # as /proc/cpuinfo calls them


_AVX2 = ("-mavx2", "-mfma", "-mf16c", "-mbmi", "-mbmi2", "-mlzcnt", "-mpopcnt")
_AVX512 = (*_AVX2, "-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mavx512cd")
_NEEDS_AVX2 = frozenset({"avx2", "fma", "f16c", "bmi1", "bmi2"})
_NEEDS_AVX512 = _NEEDS_AVX2 | {"avx512f", "avx512dq", "avx512vl", "avx512bw", "avx512cd"}

LEVELS = (
    Level("avx512", Target(16, 32), (*_AVX512, "-mprefer-vector-width=512"), _NEEDS_AVX512),
    Level("avx2", Target(8, 16), _AVX2, _NEEDS_AVX2),
    Level("portable", Target(4, 16), (), frozenset()),
)


def host_level() -> Level:
    """Return the best that this host's processor can do."""
    has = frozenset(host_facts().instruction_sets)
    level = next(level for level in LEVELS if level.needs <= has)
    return replace(level, target=replace(level.target, near=_near()))


def _near() -> int:
    """Return the bytes of the nearest cache, as far as the system tells."""
    try:
        found = os.sysconf("SC_LEVEL1_DCACHE_SIZE")
    except (AttributeError, ValueError, OSError):
        found = 0
    return found if found > 0 else Target().near


def find_level(name: str) -> Level:
    """Return a level by name."""
    for level in LEVELS:
        if level.name == name:
            return level
    hint = did_you_mean(name, [level.name for level in LEVELS])
    raise UsageError(f"no instruction set is called {name!r}; {hint}".rstrip("; "))
