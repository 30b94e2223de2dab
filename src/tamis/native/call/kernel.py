"""The interface of a compiled model, and what its implementations share."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tamis.native.build import Built


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
