"""Whole numbers and truths around compiled code, which takes and gives floats."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tamis._base import InputMismatchError
from tamis.native.call.seam import Kernel
from tamis.native.limits import LARGEST_EXACT_INTEGER

FLOAT = np.dtype(np.float32)
ALWAYS_EXACT = 2  # bytes: integers of so many or fewer are floats, exactly


class WholeKernel:
    """A compiled model some of whose inputs or outputs are no floats: they are copied into floats, and out of them."""

    def __init__(self, kernel: Kernel, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Wrap a kernel; the types are those of the model."""
        self._kernel = kernel
        self._inputs = [np.dtype(one) for one in inputs]
        self._outputs = [np.dtype(one) for one in outputs]

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute."""
        found = self._kernel(self._floats(arrays))
        return [one.astype(kind, copy=False) for one, kind in zip(found, self._outputs, strict=True)]

    def bind(self, arrays: Sequence[np.ndarray], results: Sequence[np.ndarray]) -> Callable[[], None]:
        """Return a call that reads these very arrays and writes those."""
        sources = self._floats(arrays)
        targets = [one if one.dtype == FLOAT else np.empty(one.shape, FLOAT) for one in results]
        bound = self._kernel.bind(sources, targets)
        into = [(floats, own) for floats, own in zip(sources, arrays, strict=True) if floats is not own]
        back = [(own, floats) for own, floats in zip(results, targets, strict=True) if floats is not own]

        def call() -> None:
            for floats, own in into:
                _refuse_inexact(own)
                floats[...] = own
            bound()
            for own, floats in back:
                np.copyto(own, floats, casting="unsafe")

        return call

    def _floats(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return floats of all inputs."""
        if len(arrays) != len(self._inputs):
            raise InputMismatchError(f"{len(arrays)} inputs were given, it takes {len(self._inputs)}")
        return [
            _as_float(array, kind, place)
            for place, (array, kind) in enumerate(zip(arrays, self._inputs, strict=True))
        ]


def _as_float(array: np.ndarray, kind: np.dtype, place: int) -> np.ndarray:
    if kind == FLOAT:
        return array
    if not isinstance(array, np.ndarray) or array.dtype != kind:
        told = getattr(array, "dtype", type(array).__name__)
        raise InputMismatchError(f"input {place} is {told}; pass a numpy array of {kind}")
    _refuse_inexact(array)
    return array.astype(FLOAT)


def _refuse_inexact(array: np.ndarray) -> None:
    """Refuse whole numbers that floats do not hold."""
    if array.dtype.itemsize > ALWAYS_EXACT and array.size:
        largest = max(int(array.max()), -int(array.min()))
        if largest > LARGEST_EXACT_INTEGER:
            raise InputMismatchError(
                f"the native engine keeps whole numbers as floats, exact up to {LARGEST_EXACT_INTEGER}, and {largest} was given; "
                "use engine='onnxruntime'"
            )
