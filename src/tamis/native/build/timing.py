"""Time the kernels of a compiled model, so that batches are split into the fastest ones."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter_ns

import numpy as np

from tamis.native.cut import HEADER, LEFT, header
from tamis.native.emission import Module

CACHE_LINE_BYTES = 64
TRIAL_ROUNDS = 9
TRIAL_NS = 200_000  # of one kernel in one round, about
TRIALS_NS = 300_000_000  # of all kernels and rounds


def timed(module: Module, path: Path, event: Mapping[str, np.ndarray]) -> Module:
    """Return the module with batches split by measured times, the minimum of a few rounds; a single kernel is not timed."""
    if len(module.ways) < 2:
        return module
    library = ctypes.CDLL(str(path))
    trials = [_Trial(library, module, number, event) for number in range(len(module.ways))]
    repeats = [max(1, TRIAL_NS // max(1, trial.nanoseconds(1))) for trial in trials]
    best = [float(trial.nanoseconds(1)) for trial in trials]
    end = perf_counter_ns() + TRIALS_NS
    for _ in range(TRIAL_ROUNDS):
        for number, trial in enumerate(trials):
            best[number] = min(best[number], trial.nanoseconds(repeats[number]) / repeats[number])
        if perf_counter_ns() > end:
            break
    return module.with_costs(best)


class _Trial:
    """A call of one kernel, on copies of one event."""

    def __init__(
        self, library: ctypes.CDLL, module: Module, number: int, event: Mapping[str, np.ndarray]
    ) -> None:
        weights = aligned(module.constants)
        weights[:HEADER] = header(np.full(LEFT, number, np.uint8))  # every batch goes to this kernel
        count = module.ways[number].events
        inputs = [np.repeat(one.astype(np.float32).reshape(1, -1), count, 0) for one in event.values()]
        outputs = [np.empty((count, size), np.float32) for size in module.outputs]
        scratch = aligned(np.zeros(module.scratch_floats, np.float32))
        self._buffers = [weights, scratch, *inputs, *outputs]  # kept alive for the pointers below
        pointers = [
            (ctypes.c_void_p * len(group))(*(one.ctypes.data for one in group)) for group in (inputs, outputs)
        ]
        self._function = library.tamis_run
        self._arguments = (
            ctypes.c_void_p(weights.ctypes.data),
            ctypes.c_void_p(scratch.ctypes.data),
            *pointers,
            ctypes.c_long(count),
        )

    def nanoseconds(self, repeats: int) -> int:
        """Return the time of a number of calls."""
        function, arguments = self._function, self._arguments
        begin = perf_counter_ns()
        for _ in range(repeats):
            function(*arguments)
        return perf_counter_ns() - begin


def aligned(values: np.ndarray, more: int = 0) -> np.ndarray:
    """Return a copy of float32 values that begins at a cache line, with space for `more` of them."""
    room = np.empty(values.nbytes + 4 * more + CACHE_LINE_BYTES, np.uint8)
    start = -room.ctypes.data % CACHE_LINE_BYTES
    copy = room[start : start + values.nbytes + 4 * more].view(np.float32)
    copy[: values.size] = values
    return copy
