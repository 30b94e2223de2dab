"""What every file of plain arrays provides: named datasets, and any range of rows of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Dataset:
    """What a file says of one of its arrays."""

    shape: tuple[int, ...]
    dtype: np.dtype
    compressed_bytes: int | None = None


class ArrayFile(Protocol):
    """An open file of named arrays."""

    @property
    def datasets(self) -> Mapping[str, Dataset]:
        """The arrays in it."""

    @property
    def others(self) -> Mapping[str, str]:
        """What is in it besides and cannot be read: name -> what it is."""

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """Read rows of one array."""

    def close(self) -> None:
        """Close the file."""
