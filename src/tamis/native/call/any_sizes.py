"""Open code for any sizes of several free dimensions: each combination that occurs gets a row of sizes, which the code itself computes."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from typing import Any

from tamis.cbuild import find_compiler
from tamis.native.build import Built, BuiltAnySizes
from tamis.native.build.timing import aligned
from tamis.native.call.kernel import Kernel, Shape
from tamis.native.call.open import cast, load_extension, load_library, loaded, plain_kernel

KEPT_ROWS = 4096  # of sizes that are kept; beyond these, all are made again
FLOATS_PER_SIZE = 2  # a size is a long


class AnySizes:
    """The kernels of compiled code, by the sizes of its free dimensions; thread-safe."""

    def __init__(self, built: BuiltAnySizes, *, batched: bool = True, use_extension: bool = True) -> None:
        """Load the code and its weights."""
        self._built, self._batched = built, batched
        self._library = load_library(built.path)
        self._fill: Any = self._library.tamis_sizes
        self._extension = load_extension(find_compiler()) if use_extension else None
        self._lock = threading.Lock()
        self._first: Kernel | None = None
        self._kernels: dict[tuple[Shape, ...], Kernel | None] = {}
        self._begin()

    def _begin(self) -> None:
        """Make room for rows of sizes, behind the weights; kernels that are in use keep theirs."""
        self._weights = aligned(self._built.constants, KEPT_ROWS * self._built.columns * FLOATS_PER_SIZE)
        self._kernels, self._row = {}, 0

    def find(self, inputs: tuple[Shape, ...]) -> Kernel | None:
        """Return the kernel for events with inputs of some shapes, if there is one already."""
        return self._kernels.get(inputs)

    def open(self, inputs: tuple[Shape, ...], sizes: Sequence[int]) -> Kernel | None:
        """Return the kernel for events with inputs of some shapes and some sizes of the free dimensions; None if the code is not for these."""
        with self._lock:
            if inputs in self._kernels:
                return self._kernels[inputs]
            if len(self._kernels) == KEPT_ROWS:
                self._begin()
            kernel = self._kernels[inputs] = self._opened(inputs, sizes)
            return kernel

    def _opened(self, inputs: tuple[Shape, ...], sizes: Sequence[int]) -> Kernel | None:
        built, row = self._built, self._row
        at = self._weights.ctypes.data + 4 * (built.constants.size + FLOATS_PER_SIZE * row * built.columns)
        free = (ctypes.c_long * len(sizes))(*sizes)
        if not self._fill(free, ctypes.c_void_p(at)):
            return None
        self._row += 1
        filled = (ctypes.c_long * built.columns).from_address(at)
        outputs = tuple(
            tuple(filled[one] if varies else one for one, varies in shape) for shape in built.outputs
        )
        fixed = Built(
            path=built.path,
            constants=built.constants,
            scratch_floats=built.scratch_floats,
            inputs=inputs,
            outputs=outputs,
            types=built.types,
            cycles=built.cycles,
            row=row,
        )
        code = loaded(self._library, self._weights, fixed, batched=self._batched)
        kernel = plain_kernel(self._extension, code, self._first)
        self._first = self._first or kernel
        return cast(kernel, built.types, len(inputs))
