"""Rows of an input in memory: an array, or only what is not zero of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tamis.events.kinematics import expand_ranges


class Store(Protocol):
    """Rows that can be asked for by their numbers; an array is a store."""

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """Return some rows."""
        ...

    def tobytes(self) -> bytes:
        """Return what tells one content from another."""
        ...


@dataclass(frozen=True)
class SparseRows:
    """Rows by their values that are not zero: of a detector's image a fiftieth of its size in memory."""

    shape: tuple[int, ...]  # of one row
    offsets: np.ndarray
    place: np.ndarray
    value: np.ndarray

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.offsets) - 1

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """Return some rows as they were."""
        counts, source = self._values_of(rows)
        size = int(np.prod(self.shape))
        found = np.zeros(len(rows) * size, np.float32)
        found[self.place[source] + np.repeat(np.arange(len(rows)) * size, counts)] = self.value[source]
        return found.reshape(len(rows), *self.shape)

    def tobytes(self) -> bytes:
        """Return what tells one content from another."""
        return b"".join(part.tobytes() for part in (self.offsets, self.place, self.value))

    def take(self, rows: np.ndarray) -> SparseRows:
        """Return some rows, kept as these are."""
        counts, source = self._values_of(rows)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return SparseRows(self.shape, offsets, self.place[source], self.value[source])

    def _values_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how many values each row has, and where all of them are."""
        counts = np.diff(self.offsets)[rows]
        return counts, expand_ranges(self.offsets[rows], counts)[1]

    @classmethod
    def of(cls, rows: np.ndarray) -> SparseRows:
        """Keep what is not zero of an array."""
        flat = rows.reshape(len(rows), int(np.prod(rows.shape[1:])))
        row, place = np.nonzero(flat)
        offsets = np.searchsorted(row, np.arange(len(rows) + 1))
        return cls(rows.shape[1:], offsets, place.astype(np.int32), flat[row, place])


def take(store: Store, rows: np.ndarray) -> Store:
    """Return some rows as a store of the same kind."""
    return store.take(rows) if isinstance(store, SparseRows) else store[rows]


def joined(stores: Sequence[Store]) -> Store:
    """Put stores of one kind one after the other."""
    sparse = [store for store in stores if isinstance(store, SparseRows)]
    if not sparse:
        return np.concatenate([store for store in stores if isinstance(store, np.ndarray)])
    counts = np.concatenate([np.diff(store.offsets) for store in sparse])
    return SparseRows(
        sparse[0].shape,
        np.concatenate([[0], np.cumsum(counts)]),
        np.concatenate([store.place for store in sparse]),
        np.concatenate([store.value for store in sparse]),
    )
