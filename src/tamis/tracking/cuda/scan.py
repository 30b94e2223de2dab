"""Exclusive sums: where the elements of each thread begin, so that results of unknown number need no fixed room."""

from __future__ import annotations

from typing import Any

import numpy as np

from tamis.tracking.cuda.device import KernelArray, empty, kernel, launch, to_host
from tamis.tracking.cuda.streams import cuda

CHUNK_ELEMENTS = 64  # elements of a thread
SERIAL_MOST = 256  # elements that one thread adds up


@kernel
def sum_chunks(count: int, total: int, values: KernelArray, sums: KernelArray) -> None:
    """Write the sum of each chunk."""
    chunk = cuda.grid(1)
    if chunk < count:
        added = 0
        for i in range(chunk * CHUNK_ELEMENTS, min((chunk + 1) * CHUNK_ELEMENTS, total)):
            added += values.values[i]
        sums.values[chunk] = added


@kernel
def spread_chunks(
    count: int, total: int, values: KernelArray, begins: KernelArray, result: KernelArray
) -> None:
    """Write the sum of all elements before each one; the last element of the result is the total."""
    chunk = cuda.grid(1)
    if chunk < count:
        added = begins.values[chunk]
        for i in range(chunk * CHUNK_ELEMENTS, min((chunk + 1) * CHUNK_ELEMENTS, total)):
            result.values[i] = added
            added += values.values[i]
        if chunk == count - 1:
            result.values[total] = added


@kernel
def sum_serially(count: int, total: int, values: KernelArray, result: KernelArray) -> None:
    """Do the same by one thread."""
    if cuda.grid(1) < count:
        added = 0
        for i in range(total):
            result.values[i] = added
            added += values.values[i]
        result.values[total] = added


def exclusive_sums(values: Any) -> Any:
    """Return the sums before each element, and the total at the end, on the device."""
    total = len(values)
    result = empty(total + 1, np.int32)
    if total <= SERIAL_MOST:
        launch(sum_serially, 1, total, KernelArray(values), KernelArray(result))
        return result
    chunks = (total + CHUNK_ELEMENTS - 1) // CHUNK_ELEMENTS
    sums = empty(chunks, np.int32)
    launch(sum_chunks, chunks, total, KernelArray(values), KernelArray(sums))
    begins = exclusive_sums(sums)
    launch(spread_chunks, chunks, total, KernelArray(values), KernelArray(begins), KernelArray(result))
    return result


def total_of(sums: Any) -> int:
    """Return the total of exclusive sums: a copy of four bytes to the host."""
    return int(to_host(sums[len(sums) - 1 :])[0])
