"""Inputs that compiled code holds at the values of its example: axes, sizes and other numbers that shapes depend on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tamis._base import InputMismatchError
from tamis.native.call.kernel import Kernel


class HoldingKernel:
    """A kernel some of whose inputs must have the values that it was compiled for."""

    def __init__(self, kernel: Kernel, held: Sequence[np.ndarray | None]) -> None:
        """Wrap a kernel; `held` has the value of each such input, and None for the others."""
        self._kernel = kernel
        self._held = held
        self._unread = [None if value is None else np.zeros_like(value) for value in held]

    def __call__(self, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Return the outputs."""
        return self._kernel(self._checked(arrays))

    def bind(self, arrays: Sequence[np.ndarray], results: Sequence[np.ndarray]) -> Callable[[], None]:
        """Return a call that reads these arrays and writes these results in place."""
        bound = self._kernel.bind(self._checked(arrays), results)

        def call() -> None:
            self._checked(arrays)
            bound()

        return call

    def takes(self, arrays: Sequence[np.ndarray]) -> bool:
        """Return whether inputs have the values that the code was compiled for."""
        pairs = zip(arrays, self._held, strict=True)
        return all(value is None or np.array_equal(array, value) for array, value in pairs)

    def _checked(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the inputs of the code, which does not read those that are held; raise InputMismatchError if their values differ."""
        if len(arrays) != len(self._held):
            raise InputMismatchError(f"{len(arrays)} inputs were passed, {len(self._held)} expected")
        passed = []
        for number, (array, value, unread) in enumerate(zip(arrays, self._held, self._unread, strict=True)):
            if value is None or unread is None:
                passed.append(array)
                continue
            if not isinstance(array, np.ndarray) or array.dtype != value.dtype:
                actual = getattr(array, "dtype", type(array).__name__)
                raise InputMismatchError(f"input {number} is {actual}; pass a numpy array of {value.dtype}")
            if not np.array_equal(array, value):
                raise InputMismatchError(
                    f"input {number} is {array.tolist()}, and shapes depend on it: the code was compiled for {value.tolist()}; "
                    "open the model with this value, or use engine='onnxruntime'"
                )
            passed.append(unread)
        return passed
