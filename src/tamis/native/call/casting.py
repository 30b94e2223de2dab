"""Integers, booleans and float16 as inputs and outputs, around compiled code that computes in float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tamis._base import InputMismatchError
from tamis.native.call.kernel import Kernel
from tamis.native.limits import LARGEST_EXACT_INTEGER

FLOAT32 = np.dtype(np.float32)
ALWAYS_EXACT_BYTES = 2  # integers of this size or smaller are exact as float32


class CastingKernel:
    """A kernel whose inputs are cast to float32, and whose outputs from float32, where the model has other types."""

    def __init__(self, kernel: Kernel, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Wrap a kernel; `inputs` and `outputs` are the types of the model."""
        self._kernel = kernel
        self._inputs = [np.dtype(name) for name in inputs]
        self._outputs = [np.dtype(name) for name in outputs]

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the outputs of some events."""
        results = self._kernel(self._floats(arrays))
        return [array.astype(dtype, copy=False) for array, dtype in zip(results, self._outputs, strict=True)]

    def bind(self, arrays: Sequence[np.ndarray], results: Sequence[np.ndarray]) -> Callable[[], None]:
        """Return a call that reads these arrays and writes these results in place."""
        sources = self._floats(arrays)
        targets = [one if one.dtype == FLOAT32 else np.empty(one.shape, FLOAT32) for one in results]
        bound = self._kernel.bind(sources, targets)
        casts_in = [
            (floats, array) for floats, array in zip(sources, arrays, strict=True) if floats is not array
        ]
        casts_out = [
            (result, floats) for result, floats in zip(results, targets, strict=True) if floats is not result
        ]

        def call() -> None:
            for floats, array in casts_in:
                _check_exact(array)
                floats[...] = array
            bound()
            for result, floats in casts_out:
                np.copyto(result, floats, casting="unsafe")

        return call

    def _floats(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return all inputs as float32; float32 inputs are not copied."""
        if len(arrays) != len(self._inputs):
            raise InputMismatchError(f"{len(arrays)} inputs were passed, {len(self._inputs)} expected")
        return [
            _as_float(array, dtype, number)
            for number, (array, dtype) in enumerate(zip(arrays, self._inputs, strict=True))
        ]


def _as_float(array: np.ndarray, dtype: np.dtype, number: int) -> np.ndarray:
    if dtype == FLOAT32:
        return array
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        actual = getattr(array, "dtype", type(array).__name__)
        raise InputMismatchError(f"input {number} is {actual}; pass a numpy array of {dtype}")
    _check_exact(array)
    return array.astype(FLOAT32)


def _check_exact(array: np.ndarray) -> None:
    """Raise InputMismatchError if an integer is too large to be exact as float32."""
    if array.dtype.kind in "iu" and array.dtype.itemsize > ALWAYS_EXACT_BYTES and array.size:
        largest = max(int(array.max()), -int(array.min()))
        if largest > LARGEST_EXACT_INTEGER:
            raise InputMismatchError(
                f"the native engine holds integers as float32, exact up to {LARGEST_EXACT_INTEGER}; {largest} was passed: "
                "use engine='onnxruntime'"
            )
