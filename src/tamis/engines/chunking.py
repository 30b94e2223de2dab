"""Splitting large batches into chunks that fit the cache and bound the memory."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tamis.bundle import Manifest, Signature
from tamis.engines.engine import Arrays

# Bytes that the largest operator of a chunk may touch; measured to be faster for models from 64 jets to 16k channels.
CHUNK_CACHE_BYTES = 4_000_000
MIN_CHUNK, MAX_CHUNK = 16, 16_384  # events
DEFAULT_CHUNK = 256  # events, where the cost of the model is unknown
REQUEST_BYTES = 1 << 23
FREE_DIMENSION = 100  # assumed size of a free dimension


def choose_chunk(manifest: Manifest) -> int:
    """Return the number of events per call of an engine: a power of two whose data fits the cache."""
    if manifest.cost is None or not manifest.cost.activation_bytes:
        return DEFAULT_CHUNK
    fits = max(1, CHUNK_CACHE_BYTES // manifest.cost.activation_bytes)
    return int(min(MAX_CHUNK, max(MIN_CHUNK, 1 << (fits.bit_length() - 1))))


def choose_request(signature: Signature) -> int:
    """Return the number of events per request to a server; bounded by the bytes sent, not by the cache."""
    sizes = [
        np.dtype(spec.dtype).itemsize
        * math.prod(d if isinstance(d, int) else FREE_DIMENSION for d in spec.shape[1:])
        for spec in (*signature.inputs, *signature.outputs)
    ]
    return max(1, min(MAX_CHUNK, REQUEST_BYTES // max(1, sum(sizes))))


def in_chunks(run: Callable[[Arrays], Arrays], arrays: Arrays, chunk: int) -> list[np.ndarray]:
    """Run chunk by chunk and return the concatenated outputs."""
    events = len(arrays[0])
    outputs: list[np.ndarray] = []
    for start in range(0, events, chunk):
        parts = run([array[start : start + chunk] for array in arrays])
        if not outputs:
            outputs = [np.empty((events, *part.shape[1:]), part.dtype) for part in parts]
        for output, part in zip(outputs, parts, strict=True):
            output[start : start + len(part)] = part
    return outputs
