"""What each way through a program takes here: tried once, when a model is compiled."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter_ns

import numpy as np

from tamis.native.aligned import aligned
from tamis.native.cut import HEADER, LEFT, header
from tamis.native.emission import Module

ROUNDS = 9
BLOCK_NS = 200_000  # of one way in one round, about
BUDGET_NS = 300_000_000  # of all of it


def timed(module: Module, path: Path, event: Mapping[str, np.ndarray]) -> Module:
    """Return the module with batches cut by what its ways take, the quickest of a few rounds of each; one way needs no trial."""
    if len(module.ways) < 2:
        return module
    library = ctypes.CDLL(str(path))
    calls = [_Trial(library, module, number, event) for number in range(len(module.ways))]
    repeats = [max(1, BLOCK_NS // max(1, call.nanoseconds(1))) for call in calls]
    found = [float(call.nanoseconds(1)) for call in calls]
    end = perf_counter_ns() + BUDGET_NS
    for _ in range(ROUNDS):
        for number, call in enumerate(calls):
            found[number] = min(found[number], call.nanoseconds(repeats[number]) / repeats[number])
        if perf_counter_ns() > end:
            break
    return module.with_costs(found)


class _Trial:
    """A call that goes one way, on copies of one event."""

    def __init__(
        self, library: ctypes.CDLL, module: Module, number: int, event: Mapping[str, np.ndarray]
    ) -> None:
        forced = aligned(module.constants)
        forced[:HEADER] = header(np.full(LEFT, number, np.uint8))
        count = module.ways[number].events
        given = [np.repeat(one.astype(np.float32).reshape(1, -1), count, 0) for one in event.values()]
        results = [np.empty((count, size), np.float32) for size in module.outputs]
        scratch = aligned(np.zeros(module.scratch_floats, np.float32))
        self._kept = [forced, scratch, *given, *results]
        pointers = [
            (ctypes.c_void_p * len(group))(*(one.ctypes.data for one in group)) for group in (given, results)
        ]
        self._function = library.tamis_run
        self._arguments = (
            ctypes.c_void_p(forced.ctypes.data),
            ctypes.c_void_p(scratch.ctypes.data),
            *pointers,
            ctypes.c_long(count),
        )

    def nanoseconds(self, repeats: int) -> int:
        """Return what so many calls take."""
        function, arguments = self._function, self._arguments
        begin = perf_counter_ns()
        for _ in range(repeats):
            function(*arguments)
        return perf_counter_ns() - begin
