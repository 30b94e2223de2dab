"""Write arrays with a common number of rows to an HDF5 file, streamed and atomically."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tamis._base import DataError, UsageError, atomic_path
from tamis.events.locate import HDF5_SUFFIXES

HDF5_CHUNK_BYTES = 1_000_000


class ArrayWriter:
    """Appends rows to the datasets of an HDF5 file; the first batch determines names, shapes and types."""

    def __init__(self, file: Any) -> None:
        """Write to an open file."""
        self._file = file
        self.rows_written = 0

    def write(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Append the same number of rows to every array."""
        lengths = {name: len(values) for name, values in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"arrays differ in length: {lengths}")
        if not len(self._file):
            for name, values in arrays.items():
                rows = max(1, HDF5_CHUNK_BYTES // max(1, values[:1].nbytes))
                self._file.create_dataset(
                    name,
                    (0, *values.shape[1:]),
                    values.dtype,
                    maxshape=(None, *values.shape[1:]),
                    chunks=(rows, *values.shape[1:]),
                    compression="gzip",
                    compression_opts=1,
                    shuffle=True,
                )
        if set(arrays) != set(self._file):
            raise DataError(
                f"this batch has the arrays {', '.join(arrays)}, but the first had {', '.join(self._file)}"
            )
        rows = next(iter(lengths.values()), 0)
        for name, values in arrays.items():
            dataset = self._file[name]
            dataset.resize(self.rows_written + rows, axis=0)
            dataset[self.rows_written :] = values
        self.rows_written += rows


@contextlib.contextmanager
def open_array_writer(path: str | Path) -> Iterator[ArrayWriter]:
    """Yield a writer of arrays; the file appears only on success."""
    import h5py

    path = Path(path)
    if path.suffix not in HDF5_SUFFIXES:
        raise UsageError(f"arrays are written to HDF5, not to {path.name!r}: name the file {path.stem}.h5")
    with atomic_path(path) as part, h5py.File(part, "w") as file:
        yield ArrayWriter(file)
