"""NumPy files: npy, and npz with several arrays; pickles are never loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import numpy as np

from tamis._base import UnreadableFileError
from tamis.events.failures import reading
from tamis.events.locate import is_url
from tamis.events.table import Dataset

PICKLED = "Python objects (a pickle), which are never loaded"


class NumpyFile:
    """The arrays of an npy or npz file; a local npy file is memory-mapped."""

    def __init__(self, url: str, kind: str) -> None:
        """Open the file; the arrays of an npz file are loaded, as its format allows no partial reading."""
        self._url = url
        self.others: dict[str, str] = {}
        with reading(url):
            self._arrays = self._load(url, kind)
        if kind == "npy" and self.others:
            raise UnreadableFileError(f"{url} has {PICKLED}: save numbers, such as array.astype('float32')")
        self._datasets = {}
        for name, array in self._arrays.items():
            if array.dtype.kind in "biuf":
                self._datasets[name] = Dataset(array.shape, array.dtype)
            else:
                self.others[name] = str(array.dtype)

    def _load(self, url: str, kind: str) -> dict[str, Any]:
        if kind == "npy" and not is_url(url):
            return self._load_one(Path(url).stem, lambda: np.load(url, mmap_mode="r", allow_pickle=False))
        with fsspec.open(url, "rb") as handle:
            if kind == "npy":
                return self._load_one(Path(url).stem, lambda: np.load(handle, allow_pickle=False))
            archive = np.load(handle, allow_pickle=False)
            arrays: dict[str, Any] = {}
            for name in archive.files:
                arrays |= self._load_one(name, partial(archive.__getitem__, name))
            return arrays

    def _load_one(self, name: str, load: Callable[[], Any]) -> dict[str, Any]:
        """Return {name: array}; an array of Python objects, which is a pickle, is recorded in `others` instead."""
        try:
            return {name: load()}
        except ValueError as error:
            if not any(
                words in str(error) for words in ("Python objects in dtype", "Object arrays cannot be")
            ):
                raise
            self.others[name] = PICKLED
            return {}

    @property
    def datasets(self) -> Mapping[str, Dataset]:
        """The arrays in it."""
        return self._datasets

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return a copy of some rows."""
        with reading(self._url):
            return np.array(self._arrays[name][start:stop])

    def close(self) -> None:
        """Release the arrays."""
        self._arrays = {}
