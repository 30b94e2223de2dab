"""Rows of an input in memory: an array, or only its values that are not zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tamis.events.kinematics import expand_ranges
from tamis.zoo.networks.description import Store


@dataclass(frozen=True)
class SparseRows:
    """Rows as indices and values of their non-zero elements: about 2 % of the memory for images of the detector."""

    shape: tuple[int, ...]  # of one row
    offsets: np.ndarray
    place: np.ndarray
    value: np.ndarray

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.offsets) - 1

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """Return rows as a dense array."""
        counts, source = self._values_of(rows)
        size = int(np.prod(self.shape))
        dense = np.zeros(len(rows) * size, np.float32)
        dense[self.place[source] + np.repeat(np.arange(len(rows)) * size, counts)] = self.value[source]
        return dense.reshape(len(rows), *self.shape)

    def tobytes(self) -> bytes:
        """Return bytes that identify the content."""
        return b"".join(part.tobytes() for part in (self.offsets, self.place, self.value))

    def take(self, rows: np.ndarray) -> SparseRows:
        """Return rows in the same form."""
        counts, source = self._values_of(rows)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return SparseRows(self.shape, offsets, self.place[source], self.value[source])

    def _values_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of values of each row, and the indices of all of them."""
        counts = np.diff(self.offsets)[rows]
        return counts, expand_ranges(self.offsets[rows], counts)[1]

    @classmethod
    def of(cls, rows: np.ndarray) -> SparseRows:
        """Convert a dense array."""
        flat = rows.reshape(len(rows), int(np.prod(rows.shape[1:])))
        row, place = np.nonzero(flat)
        offsets = np.searchsorted(row, np.arange(len(rows) + 1))
        return cls(rows.shape[1:], offsets, place.astype(np.int32), flat[row, place])


def take_rows(store: Store, rows: np.ndarray) -> Store:
    """Return rows as a store of the same kind."""
    return store.take(rows) if isinstance(store, SparseRows) else store[rows]


def concatenate_stores(stores: Sequence[Store]) -> Store:
    """Concatenate stores of one kind."""
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
