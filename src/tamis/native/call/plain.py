"""The same calls through ctypes, for a Python without headers: some microseconds more each."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tamis._base import InputMismatchError
from tamis.native.call.seam import Call

Shape = tuple[int, ...]


class PlainKernel:
    """A compiled model behind ctypes, which lets other threads run during every call."""

    def __init__(self, call: Call) -> None:
        """Take the address and one piece of scratch."""
        pointer = ctypes.c_void_p
        self._call = call
        self._run: Any = ctypes.CFUNCTYPE(None, pointer, pointer, pointer, pointer, ctypes.c_long)(
            call.address
        )
        self._weights = call.weights.ctypes.data
        self._scratch = np.empty(call.built.scratch_floats, np.float32)
        self._free = threading.Lock()

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute."""
        built, group = self._call.built, self._call.group
        groups = self._groups(arrays, built.inputs, "input")
        shapes = [(groups * group, *shape[1:]) if group else shape for shape in built.outputs]
        results = [np.empty(shape, np.float32) for shape in shapes]
        self._compute(_pointers(arrays), _pointers(results), groups)
        return results

    def bind(self, arrays: Sequence[np.ndarray], results: Sequence[np.ndarray]) -> Callable[[], None]:
        """Return a call that reads these very arrays and writes those."""
        groups = self._groups(arrays, self._call.built.inputs, "input")
        found = self._groups(results, self._call.built.outputs, "output")
        if groups != found:
            raise InputMismatchError(f"the inputs hold {groups} events, the outputs {found}")
        _check_writable(arrays, results)
        kept = (_pointers(arrays), _pointers(results), tuple(arrays), tuple(results))

        def call() -> None:
            self._compute(kept[0], kept[1], groups)

        return call

    def _compute(self, sources: Any, targets: Any, groups: int) -> None:
        if not groups:
            return
        own = self._free.acquire(blocking=False)
        try:
            scratch = self._scratch if own else np.empty_like(self._scratch)
            self._run(
                self._weights,
                scratch.ctypes.data,
                ctypes.addressof(sources),
                ctypes.addressof(targets),
                groups,
            )
        finally:
            if own:
                self._free.release()

    def _groups(self, arrays: Sequence[np.ndarray], shapes: Sequence[Shape], noun: str) -> int:
        """Check arrays as the extension does; return how many groups of events they hold."""
        if len(arrays) != len(shapes):
            raise InputMismatchError(f"{len(arrays)} {noun}s were given, it takes {len(shapes)}")
        held = [
            self._group_count(array, shape, f"{noun} {i}")
            for i, (array, shape) in enumerate(zip(arrays, shapes, strict=True))
        ]
        for i, count in enumerate(held):
            if count != held[0]:
                raise InputMismatchError(f"{noun} {i} holds {count} events, those before it {held[0]}")
        return held[0]

    def _group_count(self, array: object, shape: Shape, what: str) -> int:
        group = self._call.group
        if not isinstance(array, np.ndarray):
            raise InputMismatchError(f"{what} is a {type(array).__name__}; pass a numpy array of float32")
        flags = array.flags
        if (
            array.dtype != np.float32
            or not array.dtype.isnative
            or not (flags.c_contiguous and flags.aligned)
        ):
            raise InputMismatchError(
                f"{what} (dtype {array.dtype!r}, contiguous: {'yes' if flags.c_contiguous else 'no'}) has to be native float32, "
                "contiguous and aligned"
            )
        lead = 1 if group else 0
        fits = array.ndim == len(shape) and array.shape[lead:] == shape[lead:]
        if not fits or (group and array.shape[0] % group):
            want = (f"{group}*N", *shape[1:]) if group else shape
            raise InputMismatchError(f"{what} has the shape {array.shape}, it has to be {want}")
        return array.shape[0] // group if group else 1


def _pointers(arrays: Sequence[np.ndarray]) -> Any:
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


def _check_writable(arrays: Sequence[np.ndarray], results: Sequence[np.ndarray]) -> None:
    for place, result in enumerate(results):
        if not result.flags.writeable:
            raise InputMismatchError(f"output {place} is read-only; it has to be written")
        if any(np.may_share_memory(result, other) for other in (*arrays, *results[:place])):
            raise InputMismatchError(f"output {place} shares memory with another buffer; give each its own")
