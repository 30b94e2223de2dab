"""Identifiers of modules, packed as ACTS packs them: volume, layer and module."""

from __future__ import annotations

import numpy as np

VOLUME, LAYER, MODULE = 56, 36, 8  # the lowest bit of each
FIELD_WIDTHS = {VOLUME: 8, LAYER: 12, MODULE: 20}


def pack_identifier(volume: np.ndarray, layer: np.ndarray, module: np.ndarray) -> np.ndarray:
    """Return identifiers of modules."""
    result = np.zeros((), np.uint64)
    for value, shift in ((volume, VOLUME), (layer, LAYER), (module, MODULE)):
        result = result | np.left_shift(np.asarray(value).astype(np.uint64), np.uint64(shift))
    return result


def unpack_identifier(identifier: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the volumes, the layers and the numbers of modules."""
    identifier = np.asarray(identifier, np.uint64)
    volume, layer, module = (
        (np.right_shift(identifier, np.uint64(shift)) & np.uint64((1 << width) - 1)).astype(np.int32)
        for shift, width in FIELD_WIDTHS.items()
    )
    return volume, layer, module
