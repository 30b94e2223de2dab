"""HDF5 files of numeric arrays."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import fsspec
import h5py
import numpy as np

from tamis.events.failures import reading
from tamis.events.locate import is_url
from tamis.events.table import Dataset

_FIELDS = 6  # of a compound type in a message


class Hdf5File:
    """The numeric datasets of an HDF5 file, those in groups by their path."""

    def __init__(self, url: str) -> None:
        """Open the file and list its datasets."""
        self._url = url
        # keep the opener: fsspec closes the archive or connection under a file when the opener is collected
        self._opener = fsspec.open(url, "rb") if is_url(url) else None
        with reading(url):
            self._handle: Any = self._opener.open() if self._opener else None
        try:
            with reading(url):
                self._file = h5py.File(cast("io.BufferedIOBase", self._handle) or Path(url), "r")
                self._datasets, self.others = _list(self._file)
        except BaseException:
            self._close_handle()
            raise

    @property
    def datasets(self) -> Mapping[str, Dataset]:
        """The arrays in it."""
        return self._datasets

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """Read rows of one array."""
        with reading(self._url):
            array: np.ndarray = self._file[name][start:stop]
            return array

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._close_handle()

    def _close_handle(self) -> None:
        if self._handle is not None:
            self._handle.close()


def _list(file: Any) -> tuple[dict[str, Dataset], dict[str, str]]:
    """Return the datasets of numbers, and all other objects: name -> description."""
    found: dict[str, Dataset] = {}
    others: dict[str, str] = {}

    def note(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        if item.dtype.kind in "biuf" and item.shape is not None:
            found[name] = Dataset(tuple(item.shape), item.dtype, int(item.id.get_storage_size()))
        elif item.shape is None:
            others[name] = "empty"
        elif item.dtype.names is None:
            others[name] = f"of type {item.dtype}"
        else:
            names = item.dtype.names
            fields = ", ".join(names[:_FIELDS]) + (", ..." if len(names) > _FIELDS else "")
            others[name] = f"a table {tuple(item.shape)} of the fields {fields}"

    def note_link(name: str, link: Any) -> None:
        if isinstance(link, h5py.ExternalLink):
            others[name] = f"a link into another file: read {link.filename} instead"

    file.visititems(note)
    file.visititems_links(note_link)
    return found, others
