"""Cells of an event: sorted and joined, or rejected with the reason."""

from __future__ import annotations

import numpy as np
import pytest

from tamis._base import DataError
from tamis.events.detector import generic_detector, sort_cells

MODULES = generic_detector().modules


def test_cells_are_sorted_and_the_same_cell_counts_once():
    first, second = MODULES.identifier[[3, 900]]
    identifier = np.array([second, first, first, first, second, first], np.uint64)
    cells = sort_cells(
        identifier, [5, 7, 2, 7, 5, 7], [1, 4, 4, 3, 1, 4], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], MODULES
    )
    assert cells.module.tolist() == [3, 3, 3, 900]
    assert list(zip(cells.u.tolist(), cells.v.tolist(), strict=True)) == [(7, 3), (2, 4), (7, 4), (5, 1)]
    assert cells.charge.tolist() == [4.0, 3.0, 8.0, 6.0]
    assert cells.source.tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize(
    ("identifier", "u", "v", "charge", "message"),
    [
        (
            12345,
            0,
            0,
            1.0,
            r"module 48 of layer 0 in volume 0 \(12345\) is not in the detector \(cell 1 of 2\)",
        ),
        (
            None,
            336,
            0,
            1.0,
            r"cell \(336, 0\) is outside module 1 of layer 2 in volume 7 \(\d+\), which has 336 x 1440 cells",
        ),
        (None, 0, -1, 1.0, r"cell \(0, -1\) is outside"),
        (None, 4, 5, np.nan, r"the charge of cell \(4, 5\) of module 1 .* is nan, not a positive number"),
        (None, 4, 5, -0.5, "is -0.5, not a positive number"),
        (None, 4, 5, np.inf, "is inf, not a positive number"),
    ],
)
def test_what_cannot_be_is_rejected(identifier, u, v, charge, message):
    good = int(MODULES.identifier[0])
    identifiers = np.array([good, good if identifier is None else identifier], np.uint64)
    with pytest.raises(DataError, match=message):
        sort_cells(identifiers, [0, u], [0, v], [1.0, charge], MODULES)
