"""The stream of each thread of the host, and copies on it through pinned memory, timed by events of the device.

Events of the detector that are reconstructed at the same time have a thread each, so the copies of one overlap the kernels of another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tamis._base import require

cuda = require("numba.cuda", extra="cuda", purpose="reconstructing tracks on a GPU")
config = require("numba", extra="cuda", purpose="reconstructing tracks on a GPU").config
PINNED_LEAST = 1 << 20  # bytes


class _Own(threading.local):
    """What a thread has of its own."""

    stream: Any = None
    pinned: np.ndarray | None = None  # bytes that the device copies from and to without the help of the host
    link_ns: float | None = None  # of the copies while they are timed


_own = _Own()


def own_stream() -> Any:
    """Return the stream of this thread."""
    if _own.stream is None:
        _own.stream = cuda.stream()
    return _own.stream


def upload(array: np.ndarray) -> Any:
    """Return an array, with at least one element, on the device."""
    stream = own_stream()
    staged = _pinned_like(array)
    np.copyto(staged, array)
    result = cuda.device_array(array.shape, array.dtype, stream=stream)
    _copy(lambda: result.copy_to_device(staged, stream=stream))
    return result


def download(array: Any) -> np.ndarray:
    """Return an array of the device, with at least one element, on the host."""
    staged = _pinned_like(array)
    _copy(lambda: array.copy_to_host(staged, stream=own_stream()))
    return staged.copy()


@contextmanager
def timed_copies() -> Iterator[Callable[[], float | None]]:
    """Time the copies of this thread by events of the device; what is yielded returns their nanoseconds, None in Numba's simulator."""
    _own.link_ns = spent = 0.0
    try:
        yield lambda: None if config.ENABLE_CUDASIM else spent
    finally:
        spent, _own.link_ns = _own.link_ns, None


def _copy(work: Callable[[], Any]) -> None:
    """Do a copy on the stream of this thread and wait for it, as the pinned memory is used again."""
    stream = own_stream()
    if _own.link_ns is None:
        work()
        stream.synchronize()
        return
    begin, end = cuda.event(), cuda.event()
    begin.record(stream)
    work()
    end.record(stream)
    end.synchronize()
    _own.link_ns += 1e6 * begin.elapsed_time(end)


def _pinned_like(array: Any) -> np.ndarray:
    """Return pinned memory with the shape of an array; the next call hands out the same memory."""
    if _own.pinned is None or _own.pinned.nbytes < array.nbytes:
        _own.pinned = cuda.pinned_array(max(PINNED_LEAST, 2 * array.nbytes), np.uint8)
    part: np.ndarray = _own.pinned[: array.nbytes]
    return part.view(array.dtype).reshape(array.shape)
