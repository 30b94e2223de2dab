"""The weights of a contraction, stored in the order in which its blocks read them, and in few bytes where that is exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tamis.native.emission.memory import Blob
from tamis.native.emission.tuning import LINE_FLOATS, MIN_PACKED_WEIGHTS


@dataclass(frozen=True)
class WeightType:
    """A type that weights are stored in."""

    type: str  # in C
    read: str  # the C function that loads a vector of them as floats
    per_float: int  # how many take the bytes of a float

    def stored(self, values: np.ndarray) -> np.ndarray:
        """Return values in this type, as the bytes of an array of float32."""
        flat = np.ascontiguousarray(values, np.float32).ravel()
        if self is FLOAT_WEIGHTS:
            return flat
        small = flat.astype(np.int8)
        if self is BFLOAT16_WEIGHTS:
            small = (flat.view(np.uint32) >> 16).astype(np.uint16)
        return np.pad(small, (0, -len(small) % self.per_float)).view(np.float32)


FLOAT_WEIGHTS = WeightType("float", "ld", 1)
BFLOAT16_WEIGHTS = WeightType("uint16_t", "ld_short", 2)
INT8_WEIGHTS = WeightType("int8_t", "ld_byte", 4)


def weight_type(weights: np.ndarray) -> WeightType:
    """Return the smallest type that holds weights exactly; few of them stay floats."""
    if weights.size < MIN_PACKED_WEIGHTS:
        return FLOAT_WEIGHTS
    if (np.abs(weights) <= np.iinfo(np.int8).max).all() and (weights == np.rint(weights)).all():
        return INT8_WEIGHTS
    bits = np.ascontiguousarray(weights, np.float32).view(np.uint32)
    return FLOAT_WEIGHTS if (bits & 0xFFFF).any() else BFLOAT16_WEIGHTS


@dataclass(frozen=True)
class PackedWeights:
    """Where the weights of a contraction are stored; offsets are in elements of their type."""

    type: WeightType
    starts: list[int]  # of each size of block
    group: int  # elements of one group
    column: int  # elements from an output, or a vector of outputs, to the next
    term: (
        int  # elements from a term to the next; 0: those of the outputs in a block, which follow one another
    )


def pack_weights(
    blob: Blob, weights: np.ndarray, tiles: Sequence[tuple[int, int]], column: int, step: int
) -> PackedWeights:
    """Store weights (groups, terms, outputs) for blocks along the outputs: by vectors of `step` outputs, or by single ones (step 0).

    `tiles` are the blocks, (how many, of how many outputs or vectors); a vector's terms are `column` floats.
    """
    if blob.for_all_targets:
        return _in_rows(blob, weights, tiles, step)
    if step:
        kind = weight_type(weights)
        packed, starts = _by_vectors(weights, tiles, column, step)
    else:
        kind = FLOAT_WEIGHTS
        packed, starts = _by_blocks(weights, tiles)
    base = blob.add(kind.stored(packed)) * kind.per_float
    return PackedWeights(kind, [base + start for start in starts], packed.shape[1], column, step)


def _in_rows(blob: Blob, weights: np.ndarray, tiles: Sequence[tuple[int, int]], step: int) -> PackedWeights:
    """Store weights in rows, one for each term, which blocks of any size can read; lanes beyond the last output read what follows it."""
    groups, terms, outputs = weights.shape
    width = padded_outputs(outputs)
    rows = np.zeros((groups, terms, width), np.float32)
    rows[:, :, :outputs] = weights
    base, column = blob.add(rows), max(1, step)
    starts = np.cumsum([0, *(number * size for number, size in tiles)])[:-1]
    return PackedWeights(
        FLOAT_WEIGHTS, [base + int(start) * column for start in starts], terms * width, column, width
    )


def padded_outputs(outputs: int) -> int:
    """Return the floats of a row of outputs: whole cache lines from 9 outputs on, so that vectors are aligned."""
    if outputs <= LINE_FLOATS // 2:
        return 1 << (outputs - 1).bit_length()
    lines = -(-outputs // LINE_FLOATS)
    # Rows whose distance is a large power of 2 would fall into the same sets of the cache.
    return LINE_FLOATS * (lines if lines % LINE_FLOATS else lines + 1)


def _by_vectors(
    weights: np.ndarray, tiles: Sequence[tuple[int, int]], column: int, step: int
) -> tuple[np.ndarray, list[int]]:
    """Return a row per group, in which vectors of outputs follow one another, each with all its terms; and where each tile begins."""
    groups, terms, outputs = weights.shape
    total = sum(number * size for number, size in tiles)
    columns = np.zeros((groups, total, column // step, step), np.float32)
    padded = np.zeros((groups, terms, total * step), np.float32)
    padded[:, :, :outputs] = weights
    columns[:, :, :terms] = padded.reshape(groups, terms, total, step).swapaxes(1, 2)
    starts = np.cumsum([0, *(number * size for number, size in tiles)])[:-1]
    return columns.reshape(groups, -1), [int(start) * column for start in starts]


def _by_blocks(weights: np.ndarray, tiles: Sequence[tuple[int, int]]) -> tuple[np.ndarray, list[int]]:
    """Return a row per group, in which blocks follow one another, each term by term; and where each tile begins."""
    groups, terms, _ = weights.shape
    pieces, starts = [], []
    done = where = 0
    for number, size in tiles:
        starts.append(where)
        for _ in range(number):
            pieces.append(weights[:, :, done : done + size].reshape(groups, -1))
            done += size
        where += number * size * terms
    return np.concatenate(pieces, axis=1), starts
