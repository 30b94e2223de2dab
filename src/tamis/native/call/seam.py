"""What the ways of calling compiled code have in common."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tamis.native.build import Built


class Kernel(Protocol):
    """Arrays in, new arrays out; thread-safe. Arrays that do not fit raise InputMismatchError."""

    def __call__(self, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Compute."""

    def bind(self, arrays: Sequence[np.ndarray], results: Sequence[np.ndarray]) -> Callable[[], object]:
        """Return a call that reads these very arrays and writes those; it keeps them alive."""


@dataclass(frozen=True)
class Call:
    """What either way of calling needs to know."""

    library: ctypes.CDLL
    address: int
    weights: np.ndarray
    built: Built
    group: int  # rows that go together; 0: there is no axis of events
    release: int  # from so many groups on, other threads may run meanwhile
    piece: int  # so many groups are done before signals are looked for
