"""Cells with charge: what a tracking detector reads out in one event."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis._base import DataError
from tamis.events.detector.identifiers import unpack_identifier
from tamis.events.detector.modules import Modules

CELL_COLUMNS = ("Cell_module", "Cell_u", "Cell_v", "Cell_charge")  # of an event in a file


@dataclass(frozen=True)
class SiliconCells:
    """Cells of one event by module, then v, then u; `source` are the rows that they had before they were sorted."""

    module: np.ndarray  # rows of the detector's modules, int32
    u: np.ndarray  # int32
    v: np.ndarray
    charge: np.ndarray  # float32
    source: np.ndarray

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.module)


def sort_cells(
    identifier: np.ndarray, u: np.ndarray, v: np.ndarray, charge: np.ndarray, modules: Modules
) -> SiliconCells:
    """Return the cells of one event; raise DataError for a module that the detector lacks, a cell outside it, or a charge that is not positive.

    A cell that is there twice counts once, with the sum of the charges.
    """
    identifier = np.asarray(identifier, np.uint64)
    u, v = (np.asarray(values, np.int64) for values in (u, v))
    charge = np.asarray(charge, np.float32)
    if len(modules) == 0:
        raise DataError("the detector has no modules")
    # Cells mostly come module by module: each run of cells of one module is looked up once.
    begins = np.flatnonzero(np.append(True, identifier[1:] != identifier[:-1])[: len(identifier)])
    lengths = np.diff(np.append(begins, len(identifier)))
    named = identifier[begins]
    found = np.minimum(np.searchsorted(modules.identifier, named), len(modules) - 1)
    if (unknown := np.flatnonzero(modules.identifier[found] != named)).size:
        first = begins[unknown[0]]
        raise DataError(
            f"{_place(identifier[first])} is not in the detector (cell {first} of {len(identifier)})"
        )
    rows = np.repeat(found, lengths)
    ends_u, ends_v = (np.repeat(ends, lengths) for ends in modules.cells[found].T)
    outside = (u < 0) | (v < 0) | (u >= ends_u) | (v >= ends_v)
    if (wrong := np.flatnonzero(outside)).size:
        first = wrong[0]
        across, along = modules.cells[rows[first]]
        raise DataError(
            f"cell ({u[first]}, {v[first]}) is outside {_place(identifier[first])}, which has {across} x {along} cells (cell {first} of {len(rows)})"
        )
    if (wrong := np.flatnonzero(~((charge > 0) & np.isfinite(charge)))).size:
        first = wrong[0]
        raise DataError(
            f"the charge of cell ({u[first]}, {v[first]}) of {_place(identifier[first])} is {charge[first]:g}, not a positive number (cell {first} of {len(rows)})"
        )
    key = (rows << 40) | (v << 20) | u
    if (key[1:] > key[:-1]).all():  # in order, and every cell once
        own = (rows.astype(np.int32), u.astype(np.int32), v.astype(np.int32), charge.copy())
        return SiliconCells(*own, np.arange(len(key)))
    order = np.argsort(key, kind="stable")
    key = key[order]
    begins = np.flatnonzero(np.append(True, key[1:] != key[:-1]))
    total = np.add.reduceat(charge[order], begins)
    kept = order[begins]
    return SiliconCells(
        rows[kept].astype(np.int32),
        u[kept].astype(np.int32),
        v[kept].astype(np.int32),
        total.astype(np.float32),
        kept,
    )


def _place(identifier: np.uint64) -> str:
    volume, layer, module = (int(part) for part in unpack_identifier(np.asarray(identifier)))
    return f"module {module} of layer {layer} in volume {volume} ({int(identifier)})"
