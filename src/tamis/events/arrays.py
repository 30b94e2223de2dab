"""Read plain arrays, such as jets of shape (jets, 100, 3), from HDF5 and NumPy files in chunks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tamis._base import DataError, InputMismatchError, UsageError, did_you_mean
from tamis.events.failures import BrokenFileError
from tamis.events.locate import expand, sniff
from tamis.events.stream import CHUNK_BYTES, FileStream, salvage
from tamis.events.table import ArrayFile

JET_SHAPE = (100, 3)


@dataclass(frozen=True)
class ArrayChunk:
    """Rows `start` to `stop` of one dataset."""

    array: np.ndarray
    file: str
    dataset: str
    start: int
    stop: int


class ArrayReader(FileStream[ArrayChunk]):
    """An iterable of chunks of arrays; an empty dataset yields one empty chunk."""

    def __init__(
        self,
        files: Sequence[str],
        dataset: str | None,
        shape: Sequence[int | str],
        chunk_bytes: int,
        *,
        multiple_of: int = 1,
        skip_bad_files: bool,
    ) -> None:
        """Store the options; no file is opened before the iteration."""
        super().__init__(files, skip_bad_files=skip_bad_files)
        self._dataset = dataset
        self._shape = shape
        self._chunk_bytes = chunk_bytes
        self._multiple_of = multiple_of

    def _count_file(self, url: str) -> int:
        with contextlib.closing(open_arrays(url)) as file:
            return file.datasets[_choose_dataset(file, self._dataset, self._shape, url)].shape[0]

    def _read_file(self, url: str, index: int) -> Iterator[ArrayChunk]:  # noqa: ARG002 - part of the interface
        with contextlib.closing(open_arrays(url)) as file:
            name = _choose_dataset(file, self._dataset, self._shape, url)
            dataset = file.datasets[name]
            row_bytes = max(int(np.prod(dataset.shape[1:], dtype=np.int64)) * dataset.dtype.itemsize, 1)
            group = self._multiple_of
            step = max(self._chunk_bytes // row_bytes // group, 1) * group
            rows = dataset.shape[0]
            if rows % group:
                raise InputMismatchError(
                    f"{url}: dataset {name!r} has {rows} rows, which must be a multiple of {group}: "
                    f"pad it to {rows + group - rows % group}, or leave out the last {rows % group}"
                )
            for start in range(0, max(rows, 1), step):
                stop = min(start + step, rows)
                try:
                    chunk = ArrayChunk(_read_checked(file, url, name, start, stop), url, name, start, stop)
                except BrokenFileError as error:
                    reached, intact = salvage(partial(_read_checked, file, url, name), start, stop)
                    reached -= (reached - start) % group
                    if intact is not None and reached > start:
                        yield ArrayChunk(intact[: reached - start], url, name, start, reached)
                    raise error.at(reached, rows) from error
                yield chunk
                del chunk


def read_arrays(
    paths: str | Path | Iterable[str | Path],
    *,
    dataset: str | None = None,
    shape: Sequence[int | str] = JET_SHAPE,
    chunk_bytes: int = CHUNK_BYTES,
    multiple_of: int = 1,
    skip_bad_files: bool = False,
) -> ArrayReader:
    """Read HDF5, npy and npz files in chunks: the given dataset, or the only one of shape (rows, *shape).

    A name in the shape means any size. Every chunk has a multiple of `multiple_of` rows.
    """
    if chunk_bytes < 1:
        raise UsageError(f"chunk_bytes must be positive, not {chunk_bytes}")
    if multiple_of < 1:
        raise UsageError(f"multiple_of must be positive, not {multiple_of}")
    return ArrayReader(
        expand(paths), dataset, shape, chunk_bytes, multiple_of=multiple_of, skip_bad_files=skip_bad_files
    )


def open_arrays(url: str) -> ArrayFile:
    """Open an HDF5, npy or npz file."""
    kind = sniff(url)
    if kind == "hdf5":
        from tamis.events.hdf5 import Hdf5File

        return Hdf5File(url)
    if kind in {"npy", "npz"}:
        from tamis.events.numpy_files import NumpyFile

        return NumpyFile(url, kind)
    raise UsageError(f"{url} is a {kind} file of events; arrays are expected, in an HDF5, npy or npz file")


def _read_checked(file: ArrayFile, url: str, name: str, start: int, stop: int) -> np.ndarray:
    array = file.read(name, start, stop)
    if len(array) != stop - start:
        raise BrokenFileError(url, f"dataset {name!r} has {len(array)} rows instead of {stop - start}")
    return array


def _choose_dataset(file: ArrayFile, requested: str | None, shape: Sequence[int | str], url: str) -> str:
    """Return the requested dataset, or the only one of the right shape."""
    datasets = file.datasets
    if requested is not None:
        return _named(file, requested, url)
    fitting = [name for name, found in datasets.items() if _fits(found.shape, shape)]
    expected = ", ".join(["rows", *map(str, shape)])
    if len(fitting) > 1:
        raise UsageError(
            f"{url} has several datasets of shape ({expected}); choose one "
            f"with --tree (dataset=): {', '.join(fitting)}"
        )
    if fitting:
        return fitting[0]
    contents = [f"{name} {found.shape}" for name, found in datasets.items()]
    contents += [f"{name} ({what})" for name, what in file.others.items()]
    hint = "; only arrays of plain numbers can be read" if file.others and not datasets else ""
    raise DataError(
        f"{url} has no dataset of shape ({expected}); it contains {', '.join(contents[:12]) or 'nothing'}{hint}"
    )


def _named(file: ArrayFile, requested: str, url: str) -> str:
    name = requested.strip("/")
    if name in file.others:
        raise DataError(
            f"{url}: dataset {requested!r} is {file.others[name]}; only plain numbers can be read"
        )
    if name not in file.datasets:
        hint = did_you_mean(name, file.datasets)
        raise DataError(f"{url} has no dataset {requested!r}; {hint}".rstrip("; "))
    if not file.datasets[name].shape:
        raise DataError(f"{url}: dataset {requested!r} is a single number, not rows")
    return name


def _fits(found: Sequence[int], shape: Sequence[int | str]) -> bool:
    """Return whether rows have a shape, in which equal names mean equal sizes."""
    if len(found) != len(shape) + 1:
        return False
    sizes: dict[str, int] = {}
    return all(
        actual == (sizes.setdefault(size, actual) if isinstance(size, str) else size)
        for size, actual in zip(shape, found[1:], strict=True)
    )
