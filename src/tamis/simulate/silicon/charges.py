"""From the way of a particle through a module to cells with charge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.events.detector import Modules
from tamis.simulate.seeds import Seeds
from tamis.simulate.silicon.transport import Hits

SMEARING = 0.01  # of the charge of a cell, as in ACTS' digitisation of the generic detector
CHARGE_MIN_MM = 1e-3  # of silicon: less is below the threshold
LONGEST_MM = 3.0  # across a module: a particle along its surface would light it all


@dataclass(frozen=True)
class HitCells:
    """Cells of all modules, by module, then v, then u; charges are lengths of silicon in mm."""

    module: np.ndarray
    u: np.ndarray
    v: np.ndarray
    charge: np.ndarray
    hit: np.ndarray  # that left most of the charge


def share_charge(hits: Hits, modules: Modules, seeds: Seeds) -> HitCells:
    """Divide the way through each module among the cells under it, and add up the charges of cells that several particles hit."""
    axes, centre = modules.axes[hits.module], modules.centre[hits.module]
    local = np.einsum("nij,nj->ni", axes, hits.position - centre)
    direction = np.einsum("nij,nj->ni", axes, hits.momentum)
    down = np.where(np.abs(direction[:, 2]) < 1e-9, 1e-9, direction[:, 2])
    thickness = modules.thickness[hits.module]
    half = direction[:, :2] / np.abs(down)[:, None] * thickness[:, None] / 2
    length = np.hypot(*half.T)
    half *= np.minimum(1, LONGEST_MM / 2 / np.maximum(length, 1e-9))[:, None]
    pitch, first = modules.pitch[hits.module], modules.first[hits.module]
    begin, end = ((local[:, :2] + side * half - first) / pitch for side in (-1, 1))
    begin, end = _clipped(begin, end, modules.cells[hits.module])
    path = np.sqrt(((end - begin) * pitch) ** 2 @ np.ones(2) + thickness**2)
    hit, fraction, middle = _segments(begin, end)
    cell = np.floor(middle).astype(np.int64)
    cell = np.clip(cell, 0, modules.cells[hits.module][hit] - 1)
    random = seeds.stream("silicon charge")
    charge = path[hit] * fraction * (1 + SMEARING * random.normal(size=len(hit)))
    kept = charge > CHARGE_MIN_MM
    return _merged(hits.module[hit[kept]], cell[kept], charge[kept], hit[kept])


def _clipped(begin: np.ndarray, end: np.ndarray, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut ways at the edges of modules."""
    edge = cells - 1e-9
    return np.clip(begin, 0, edge), np.clip(end, 0, edge)


def _segments(begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut ways where they cross the borders of cells: return the way, the fraction of its length and the middle of each piece."""
    owners, places = [np.arange(len(begin))], [np.zeros(len(begin))]
    for axis in range(2):
        low, high = np.minimum(begin, end)[:, axis], np.maximum(begin, end)[:, axis]
        count = (np.floor(high) - np.floor(low)).astype(np.int64)
        owner = np.repeat(np.arange(len(begin)), count)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
        border = np.floor(low)[owner] + 1 + number
        owners.append(owner)
        places.append((border - begin[owner, axis]) / (end - begin)[owner, axis])
    owner, place = np.concatenate(owners), np.concatenate(places)
    order = np.lexsort((place, owner))
    owner, place = owner[order], place[order]
    last = np.append(owner[1:] != owner[:-1], True)
    after = np.where(last, 1.0, np.append(place[1:], 1.0))
    middle = begin[owner] + (end - begin)[owner] * ((place + after) / 2)[:, None]
    return owner, after - place, middle


def _merged(module: np.ndarray, cell: np.ndarray, charge: np.ndarray, hit: np.ndarray) -> HitCells:
    order = np.lexsort((charge, cell[:, 0], cell[:, 1], module))
    module, cell, charge, hit = module[order], cell[order], charge[order], hit[order]
    keys = np.stack([module, cell[:, 1], cell[:, 0]])
    last = np.append((keys[:, 1:] != keys[:, :-1]).any(axis=0), True) if len(module) else np.zeros(0, bool)
    ends = np.flatnonzero(last)
    begins = np.append(0, ends[:-1] + 1) if len(ends) else ends
    total = np.add.reduceat(charge, begins) if len(ends) else charge
    return HitCells(
        module[ends].astype(np.int32),
        cell[ends, 0].astype(np.int32),
        cell[ends, 1].astype(np.int32),
        total.astype(np.float32),
        hit[ends],
    )
