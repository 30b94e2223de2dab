"""The device: arrays on it, copies to and from it, and launches of kernels, also in Numba's simulator (NUMBA_ENABLE_CUDASIM=1)."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tamis._base import UsageError
from tamis.tracking.cuda.streams import config, cuda, download, own_stream, upload

Value = TypeVar("Value")
BLOCK = 128  # threads
FILL_THREADS = 16_384
Launch = tuple[Any, tuple[Any, ...]]
_simulator = threading.Lock()  # it runs one kernel at a time


class KernelArray(NamedTuple):
    """One array for a kernel. The simulator hands on arrays in tuples as they are, which compiled bodies need."""

    values: Any


class Recorder:
    """Collects launches instead of running them: what is needed to compile all kernels without a GPU."""

    launches: list[Launch] | None = None


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """Collect the kernels that are launched, and their arguments; arrays are of the host, and hold ones."""
    Recorder.launches = []
    try:
        yield Recorder.launches
    finally:
        Recorder.launches = None


def is_simulated() -> bool:
    """Return whether kernels run in Numba's simulator."""
    return bool(config.ENABLE_CUDASIM)


def is_on_host() -> bool:
    """Return whether the arrays of the device are NumPy's: in the simulator, and while launches are recorded."""
    return is_simulated() or Recorder.launches is not None


def check_device() -> None:
    """Raise UsageError if there is neither a GPU nor the simulator."""
    if is_on_host() or cuda.is_available():
        return
    try:
        cuda.detect()
        reason = "no usable device"
    except Exception as error:  # noqa: BLE001 - the driver's own words, whatever class they have
        reason = " ".join(str(error).split()).rstrip(". :")
    raise UsageError(
        f"stages cannot run on a GPU here: {reason}; run them on the CPU, or in the simulator with NUMBA_ENABLE_CUDASIM=1, which is slow"
    )


def kernel(function: Callable[..., None]) -> Any:
    """Compile a kernel: its first parameter is the number of threads that have work."""
    return cuda.jit(function, fastmath=True)


def device_function(function: Callable[..., Any]) -> Any:
    """Compile a function that kernels call."""
    return cuda.jit(function, device=True, fastmath=True)


def launch(function: Any, count: int, *arguments: Any) -> None:
    """Run a kernel on the stream of this thread, with one thread of the device for each of `count` elements."""
    if Recorder.launches is not None:
        Recorder.launches.append((function, (count, *arguments)))
    elif count > 0 and is_simulated():
        with _simulator:
            function[(count + BLOCK - 1) // BLOCK, min(BLOCK, count)](count, *arguments)
    elif count > 0:
        function[(count + BLOCK - 1) // BLOCK, BLOCK, own_stream()](count, *arguments)


def empty(shape: int | tuple[int, ...], dtype: Any) -> Any:
    """Return an uninitialised array on the device."""
    if is_on_host():
        return np.ones(shape, dtype)
    if np.prod(shape) == 0:
        shape = (1, *shape[1:]) if isinstance(shape, tuple) else 1
        return cuda.device_array(shape, dtype, stream=own_stream())[:0]
    return cuda.device_array(shape, dtype, stream=own_stream())


@kernel
def fill(count: int, total: int, column: KernelArray, value: float) -> None:
    """Write one value to all elements, each thread to every `count`-th one."""
    thread = cuda.grid(1)
    if thread < count:
        for i in range(thread, total, count):
            column.values[i] = value


def filled(count: int, dtype: Any, value: float = 0) -> Any:
    """Return an array on the device with one value."""
    array = empty(count, dtype)
    threads = min(count, BLOCK if is_simulated() else FILL_THREADS)
    launch(fill, threads, count, KernelArray(array), dtype(value))
    return np.full(count, value, dtype) if Recorder.launches is not None else array


def to_device(value: Value) -> Value:
    """Return arrays, or tuples and dataclasses of them, on the device."""
    return _mapped(value, _upload)


def to_host(value: Value) -> Value:
    """Return arrays, or tuples and dataclasses of them, on the host."""
    return _mapped(value, _download)


def bytes_of(value: Any) -> int:
    """Return the bytes of all arrays of a value."""
    total = 0

    def add(array: Any) -> Any:
        nonlocal total
        total += array.nbytes
        return array

    _mapped(value, add)
    return total


def wait() -> None:
    """Wait until the kernels and copies of this thread are done."""
    if not is_on_host():
        own_stream().synchronize()


def _upload(array: Any) -> Any:
    if is_on_host():
        return np.array(array)
    if array.size == 0:
        return empty(array.shape, array.dtype)
    return upload(array)


def _download(array: Any) -> Any:
    if is_on_host():
        return np.array(array)
    return download(array) if array.size else np.empty(array.shape, array.dtype)


def _mapped(value: Any, each: Callable[[Any], Any]) -> Any:
    """Return a value with its arrays mapped; numbers stay as they are."""
    if isinstance(value, tuple):
        return value._make(_mapped(part, each) for part in value)  # type: ignore[attr-defined] # a NamedTuple
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            field.name: _mapped(getattr(value, field.name), each) for field in dataclasses.fields(value)
        }
        return dataclasses.replace(value, **fields)
    return each(value) if hasattr(value, "nbytes") and value.ndim > 0 else value
