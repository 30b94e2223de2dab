"""Cutting large batches into pieces whose data stays in the cache (and whose memory stays bounded)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tamis.bundle import Manifest, Signature
from tamis.engines.engine import Arrays

CACHE_BYTES = (
    4_000_000  # what the largest step of a chunk may touch; measured to pay from 64s of jets to 16k channels
)
SMALLEST, LARGEST = 16, 16_384
REQUEST_BYTES, FREE = 1 << 23, 100  # of one request; elements of a dimension that is free


def choose_chunk(manifest: Manifest) -> int:
    """Choose how many events go through the model at once: a power of two that fits the cache."""
    if manifest.cost is None or not manifest.cost.activation_bytes:
        return 256
    fits = max(1, CACHE_BYTES // manifest.cost.activation_bytes)
    return int(min(LARGEST, max(SMALLEST, 1 << (fits.bit_length() - 1))))


def choose_request(signature: Signature) -> int:
    """Choose how many events go into one request to a server: its caches are its own affair, what travels is not."""
    sizes = [
        np.dtype(spec.dtype).itemsize * math.prod(d if isinstance(d, int) else FREE for d in spec.shape[1:])
        for spec in (*signature.inputs, *signature.outputs)
    ]
    return max(1, min(LARGEST, REQUEST_BYTES // max(1, sum(sizes))))


def in_chunks(run: Callable[[Arrays], Arrays], arrays: Arrays, chunk: int) -> list[np.ndarray]:
    """Run piece by piece into one set of outputs."""
    events = len(arrays[0])
    outputs: list[np.ndarray] = []
    for start in range(0, events, chunk):
        pieces = run([array[start : start + chunk] for array in arrays])
        if not outputs:
            outputs = [np.empty((events, *piece.shape[1:]), piece.dtype) for piece in pieces]
        for output, piece in zip(outputs, pieces, strict=True):
            output[start : start + len(piece)] = piece
    return outputs
