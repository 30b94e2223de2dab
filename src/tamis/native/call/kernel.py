"""The interface of a compiled model, and calls through ctypes.

These are for a Python without headers: some microseconds slower per call than the extension.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tamis._base import InputMismatchError
from tamis.native.build import Built
from tamis.native.cut import ROW_BITS

Shape = tuple[int, ...]


class Kernel(Protocol):
    """Takes arrays and returns new ones; thread-safe. Raises InputMismatchError for arrays of another shape or type."""

    def __call__(self, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Return the outputs of some events."""

    def bind(self, arrays: Sequence[np.ndarray], results: Sequence[np.ndarray]) -> Callable[[], object]:
        """Return a call that reads these arrays and writes these results in place; it keeps them alive."""


@dataclass(frozen=True)
class LoadedCode:
    """Compiled code in memory, its weights, and how batches are passed to it."""

    library: ctypes.CDLL
    address: int
    weights: np.ndarray
    built: Built
    group: int  # events of the batch that the graph is fixed to; 0: there is no event axis
    release: int  # calls of this many groups or more release the GIL
    piece: int  # groups between two checks for signals
    row: int = 0  # of the sizes of an event


class CtypesKernel:
    """A compiled model called through ctypes, which releases the GIL in every call."""

    def __init__(self, code: LoadedCode, shares: CtypesKernel | None = None) -> None:
        """Take the function's address, and a scratch buffer, that of another kernel if it `shares` it."""
        pointer = ctypes.c_void_p
        self._code = code
        self._run: Any = ctypes.CFUNCTYPE(None, pointer, pointer, pointer, pointer, ctypes.c_long)(
            code.address
        )
        self._weights = code.weights.ctypes.data
        self._scratch: np.ndarray = (
            np.empty(code.built.scratch_floats, np.float32) if shares is None else shares._scratch
        )
        self._scratch_lock: threading.Lock = threading.Lock() if shares is None else shares._scratch_lock

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the outputs of some events."""
        built, group = self._code.built, self._code.group
        groups = self._groups(arrays, built.inputs, "input")
        shapes = [(groups * group, *shape[1:]) if group else shape for shape in built.outputs]
        results = [np.empty(shape, np.float32) for shape in shapes]
        self._compute(_pointers(arrays), _pointers(results), groups)
        return results

    def bind(self, arrays: Sequence[np.ndarray], results: Sequence[np.ndarray]) -> Callable[[], None]:
        """Return a call that reads these arrays and writes these results in place."""
        built, group = self._code.built, max(1, self._code.group)
        groups = self._groups(arrays, built.inputs, "input")
        output_groups = self._groups(results, built.outputs, "output")
        if groups != output_groups:
            raise InputMismatchError(
                f"the inputs hold {groups * group} events, the outputs {output_groups * group}"
            )
        _check_writable(arrays, results)
        kept = (_pointers(arrays), _pointers(results), tuple(arrays), tuple(results))

        def call() -> None:
            self._compute(kept[0], kept[1], groups)

        return call

    def _compute(self, sources: Any, targets: Any, groups: int) -> None:
        if not groups:
            return
        locked = self._scratch_lock.acquire(blocking=False)
        try:
            scratch = self._scratch if locked else np.empty_like(self._scratch)
            self._run(
                self._weights,
                scratch.ctypes.data,
                ctypes.addressof(sources),
                ctypes.addressof(targets),
                groups | self._code.row << ROW_BITS,
            )
        finally:
            if locked:
                self._scratch_lock.release()

    def _groups(self, arrays: Sequence[np.ndarray], shapes: Sequence[Shape], noun: str) -> int:
        """Check arrays as the extension does; return how many groups of events they hold."""
        if len(arrays) != len(shapes):
            raise InputMismatchError(f"{len(arrays)} {noun}s were passed, {len(shapes)} expected")
        groups = [
            self._group_count(array, shape, f"{noun} {number}")
            for number, (array, shape) in enumerate(zip(arrays, shapes, strict=True))
        ]
        for number, count in enumerate(groups):
            if count != groups[0]:
                raise InputMismatchError(f"{noun} {number} holds {count} events, those before it {groups[0]}")
        return groups[0]

    def _group_count(self, array: object, shape: Shape, name: str) -> int:
        group = self._code.group
        if not isinstance(array, np.ndarray):
            raise InputMismatchError(f"{name} is a {type(array).__name__}; pass a numpy array of float32")
        flags = array.flags
        if (
            array.dtype != np.float32
            or not array.dtype.isnative
            or not (flags.c_contiguous and flags.aligned)
        ):
            raise InputMismatchError(
                f"{name} (dtype {array.dtype!r}, contiguous: {'yes' if flags.c_contiguous else 'no'}) must be native float32, "
                "contiguous and aligned"
            )
        lead = 1 if group else 0
        fits = array.ndim == len(shape) and array.shape[lead:] == shape[lead:]
        if not fits or (group and array.shape[0] % group):
            expected = (f"{group}*N", *shape[1:]) if group else shape
            raise InputMismatchError(f"{name} has the shape {array.shape}, expected {expected}")
        return array.shape[0] // group if group else 1


def _pointers(arrays: Sequence[np.ndarray]) -> Any:
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


def _check_writable(arrays: Sequence[np.ndarray], results: Sequence[np.ndarray]) -> None:
    for number, result in enumerate(results):
        if not result.flags.writeable:
            raise InputMismatchError(f"output {number} is read-only; pass a writable array")
        if any(np.may_share_memory(result, other) for other in (*arrays, *results[:number])):
            raise InputMismatchError(
                f"output {number} shares memory with another buffer; pass separate arrays"
            )
