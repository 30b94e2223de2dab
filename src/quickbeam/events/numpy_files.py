"""NumPy's own files: npy, and npz with several arrays; never a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec
import numpy as np

from quickbeam.events.dataset import Dataset
from quickbeam.events.failures import reading
from quickbeam.events.locate import is_url


class NumpyFile:
    """The arrays of an npy or npz file; a local npy is mapped rather than loaded."""

    def __init__(self, url: str, kind: str) -> None:
        """Open the file; the arrays of an npz are read as a whole, as that format has no other way."""
        self._url = url
        with reading(url):
            if kind == "npy" and not is_url(url):
                self._arrays: dict[str, Any] = {
                    Path(url).stem: np.load(url, mmap_mode="r", allow_pickle=False)
                }
            else:
                with fsspec.open(url, "rb") as handle:
                    loaded = np.load(handle, allow_pickle=False)
                    self._arrays = (
                        {Path(url).stem: loaded} if kind == "npy" else {n: loaded[n] for n in loaded.files}
                    )
        self._datasets = {
            name: Dataset(array.shape, array.dtype)
            for name, array in self._arrays.items()
            if array.dtype.kind in "biuf"
        }

    @property
    def datasets(self) -> Mapping[str, Dataset]:
        """The arrays in it."""
        return self._datasets

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return a copy of some rows."""
        with reading(self._url):
            return np.array(self._arrays[name][start:stop])

    def close(self) -> None:
        """Forget the arrays."""
        self._arrays = {}
