"""How kernels are compiled: one body for each piece of work, called by loops on a CPU and by threads on a GPU.

Compiled kernels own no memory: without Numba's reference counts, which took two thirds of the time, a call costs next to nothing. All
arrays come from the caller. What was compiled is stored, in a folder for each version of these sources, so that a machine compiles once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tamis._base import require
from tamis.cbuild import cache_root

numba = require("numba", extra="tracking", purpose="reconstructing tracks")
# Counts begin with these: for a literal number Numba compiles what is called with it once more.
ZERO64: Any = np.int64(0)
NONE: Any = np.int64(-1)
OPTIONS = {"fastmath": True, "error_model": "numpy", "nogil": True, "_nrt": False}
VERSIONS_KEPT = 8  # of compiled kernels, those used last; each takes some 6 MB


def body(function: Callable[..., Any]) -> Any:
    """Compile the work of one element (a module, a space point, a track); it is inlined into the loops and GPU kernels that call it."""
    return _compiled(function, forceinline=True)


def routine(function: Callable[..., Any]) -> Any:
    """Compile a larger piece of the work of one element, which is called rather than inlined."""
    return _compiled(function)


def loop(function: Callable[..., Any]) -> Any:
    """Compile a loop over elements for one CPU core, or load what was compiled before."""
    return _compiled(function)


def _compiled(function: Callable[..., Any], **options: Any) -> Any:
    numba.config.CACHE_DIR = str(kernel_cache())
    return numba.njit(**OPTIONS, **options, cache=True)(function)


@cache
def kernel_cache() -> Path:
    """Return the folder of compiled kernels for these sources: Numba itself does not see that a function called by a loop has changed."""
    here = Path(__file__).parent
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted(here.glob("*.py")):
        digest.update(source.read_bytes())
    root = cache_root().parent / "kernels"  # beside that of the compiler, which prunes its own
    folder = root / digest.hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    others = sorted((one for one in root.iterdir() if one != folder), key=lambda one: one.stat().st_mtime)
    for old in others[:-VERSIONS_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return folder
