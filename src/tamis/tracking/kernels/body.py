"""How kernels are compiled: one body for each piece of work, called by loops on a CPU and by threads on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def body(function: Callable[..., Any]) -> Any:
    """Compile the work of one element (a module, a space point, a track); it is inlined into the loops and GPU kernels that call it."""
    return numba.njit(fastmath=True, error_model="numpy", nogil=True, forceinline=True, _nrt=False)(function)


def loop(function: Callable[..., Any]) -> Any:
    """Compile a loop over elements for one CPU core."""
    return numba.njit(fastmath=True, error_model="numpy", nogil=True, cache=True, _nrt=False)(function)


def routine(function: Callable[..., Any]) -> Any:
    """Compile a larger piece of the work of one element, which is called rather than inlined."""
    return numba.njit(fastmath=True, error_model="numpy", nogil=True, _nrt=False)(function)
