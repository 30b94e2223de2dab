"""Missing values: what a quantity has for an object that has no input, such as the score of a jet without constituents.

A missing value is a NaN with a fixed bit pattern, which no computation returns, so that it is kept wherever numbers are
copied or change their precision. A NaN of a computation is a fault and sends its event to debug; a missing value does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from tamis.events.columns import ColumnData, Jagged

if TYPE_CHECKING:
    import awkward as ak

_HALF = np.uint16(0x7F3B)  # a quiet NaN whose payload fits float16, and hence every wider type
MISSING = np.array(_HALF).view(np.float16).astype(np.float32)[()]
_SIGNLESS: dict[np.dtype, tuple[type[np.unsignedinteger], int, int]] = {}
for _float, _bits in ((np.float16, np.uint16), (np.float32, np.uint32), (np.float64, np.uint64)):
    _pattern = int(np.array(MISSING).astype(_float).view(_bits)[()])
    _SIGNLESS[np.dtype(_float)] = (_bits, _pattern, (1 << (8 * np.dtype(_float).itemsize - 1)) - 1)


def is_missing(values: np.ndarray | float | ak.Array) -> np.ndarray:
    """Return a mask of the missing values, for an awkward array one of its structure; those of integers and booleans are never missing."""
    if hasattr(values, "layout"):
        import awkward as ak

        def mask(layout: ak.contents.Content, **_: object) -> ak.contents.Content | None:
            return ak.contents.NumpyArray(is_missing(layout.data)) if layout.is_numpy else None

        of_awkward: np.ndarray = ak.fill_none(ak.transform(mask, values), True, axis=-1)
        return of_awkward
    array = np.asarray(values)
    layout = _SIGNLESS.get(array.dtype)
    if layout is None:
        return np.zeros(array.shape, bool)
    bits, pattern, signless = layout
    found: np.ndarray = (array.view(bits) & bits(signless)) == pattern
    return found


def with_missing(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return values that are missing where a mask of the rows is true; integers become float64."""
    kind = values.dtype if values.dtype.kind == "f" else np.dtype(np.float64)
    found = values.astype(kind)
    found[mask] = MISSING
    return found


def hold_missing(columns: Iterable[ColumnData]) -> bool:
    """Return whether any column has a missing value."""
    for column in columns:
        values = column.flat if isinstance(column, Jagged) else column
        if values.dtype.kind == "f" and values.size and np.isnan(values.min()) and is_missing(values).any():
            return True
    return False
