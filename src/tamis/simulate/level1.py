"""The Level-1 trigger: trigger towers, and the objects that its calorimeter and muon algorithms find in them.

The algorithms are those of the CMS calorimeter and muon triggers in outline (JINST 15 (2020) P10017): towers of 5 x 5 crystals
in steps of 0.5 GeV that saturate, jets of 9 x 9 towers with the pile-up of their surroundings subtracted, electrons and
photons as 3 x 3 towers with little energy behind them, muons with the resolution of the muon chambers alone. Nothing here
knows about tracks or vertices, and only one bunch crossing is simulated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.features.detector_image import TOWER_COLUMNS, TOWER_ROWS
from tamis.simulate.cells import Cells
from tamis.simulate.particles import Particles
from tamis.simulate.seeds import Seeds

STEP_GEV = 0.5  # of transverse energies
TOWER_WIDTH = 2 * np.pi / TOWER_COLUMNS
PART_COUNTS_MAX = 255  # of the electromagnetic and of the hadronic part of a tower: 8 bits
REGION_COUNTS_MAX = 1023  # 10 bits
REGIONS_ETA, REGIONS_PHI = 14, 18  # of 5 x 4 towers each
JET_REACH = 4  # towers on each side of the seed
JET_SEED_COUNTS, JET_COUNTS_MIN = 8, 20
# Towers lose what they round down and what saturates: the median response to particle-flow jets above 100 GeV is 0.81.
JET_SCALE = 1.2
STRIP = 3  # towers in the strips around a jet that measure the pile-up
EGAMMA_SEED_COUNTS, EGAMMA_COUNTS_MIN = 4, 10
HADRONIC_FRACTION_MAX = 1 / 8  # behind the seed of an electron or photon
OBJECTS_MAX = 12  # of one kind in an event
HT_JET_COUNTS_MIN, HT_JET_ETA_MAX = 60, 2.4
MUON_PT_MIN_GEV, MUON_ETA_MAX = 3.0, 2.4
MUON_EFFICIENCY, MUON_RESOLUTION, MUON_ANGLE = 0.93, 0.20, 0.01  # of 1 / pT; of eta and phi
TOTAL_ET, TOTAL_HT, MISSING_ET = 0, 1, 2  # NanoAOD's L1EtSum_etSumType


@dataclass(frozen=True)
class TriggerObjects:
    """Objects of one kind in event order, by descending transverse momentum."""

    event: np.ndarray
    pt: np.ndarray  # GeV, in steps of 0.5
    eta: np.ndarray
    phi: np.ndarray


@dataclass(frozen=True)
class LevelOne:
    """The output of the Level-1 trigger's calorimeter and muon algorithms."""

    egammas: TriggerObjects
    muons: TriggerObjects
    jets: TriggerObjects
    sums_gev: np.ndarray  # (events, 3): total and jet transverse energy, and missing transverse momentum
    met_phi: np.ndarray
    regions: np.ndarray  # (events, 14, 18): counts of 0.5 GeV in 5 x 4 towers


@dataclass(frozen=True)
class TriggerTowers:
    """Transverse energies in counts of 0.5 GeV: (events, 70 rings of eta, 72 of phi)."""

    electromagnetic: np.ndarray
    hadronic: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """Return the sum of both parts."""
        total: np.ndarray = self.electromagnetic + self.hadronic
        return total


def level_one(crystals: Cells, towers: Cells, particles: Particles, events: int, seeds: Seeds) -> LevelOne:
    """Return what the Level-1 trigger finds in calorimeter cells and muons."""
    trigger_towers = TriggerTowers(_counts(crystals, events), _counts(towers, events))
    total = trigger_towers.total
    jets = _jets(total)
    centre = (np.arange(TOWER_COLUMNS) + 0.5) * TOWER_WIDTH - np.pi
    ring = total.sum(axis=1)
    px, py = -(ring @ np.cos(centre)), -(ring @ np.sin(centre))
    hard = (jets.pt >= HT_JET_COUNTS_MIN * STEP_GEV) & (np.abs(jets.eta) < HT_JET_ETA_MAX)
    sums = np.stack(
        [
            STEP_GEV * total.sum(axis=(1, 2)),
            np.bincount(jets.event[hard], jets.pt[hard], minlength=events),
            STEP_GEV * np.floor(np.hypot(px, py)),
        ],
        axis=1,
    )
    regions = total.reshape(events, REGIONS_ETA, TOWER_ROWS // REGIONS_ETA, REGIONS_PHI, -1).sum(axis=(2, 4))
    return LevelOne(
        egammas=_egammas(trigger_towers),
        muons=_muons(particles, seeds),
        jets=jets,
        sums_gev=sums,
        met_phi=np.arctan2(py, px),
        regions=np.minimum(regions, REGION_COUNTS_MAX),
    )


def _counts(cells: Cells, events: int) -> np.ndarray:
    """Return one part of every tower, rounded down to counts; it saturates."""
    row = np.floor(cells.eta / TOWER_WIDTH).astype(np.int64) + TOWER_ROWS // 2
    column = np.floor((cells.phi + np.pi) / TOWER_WIDTH).astype(np.int64) % TOWER_COLUMNS
    place = (cells.event * TOWER_ROWS + row) * TOWER_COLUMNS + column
    et = np.bincount(place, cells.et, minlength=events * TOWER_ROWS * TOWER_COLUMNS)
    counts = np.minimum(et / STEP_GEV, PART_COUNTS_MAX).astype(np.int32)
    return counts.reshape(events, TOWER_ROWS, TOWER_COLUMNS)


def _jets(total: np.ndarray) -> TriggerObjects:
    """Return the jets: 9 x 9 towers around the largest, less the three lowest of the four strips around them."""
    place = _largest(total, JET_REACH, JET_SEED_COUNTS)
    side = 2 * JET_REACH + 1
    padded = _padded(total, JET_REACH + STRIP)
    event, row, column = place[0], place[1] + STRIP, place[2] + STRIP  # the corner of the 9 x 9 towers
    strips = np.sort(
        [
            _box(padded, event, row - STRIP, column, STRIP, side),
            _box(padded, event, row + side, column, STRIP, side),
            _box(padded, event, row, column - STRIP, side, STRIP),
            _box(padded, event, row, column + side, side, STRIP),
        ],
        axis=0,
    )
    counts = _box(padded, event, row, column, side, side) - strips[:3].sum(axis=0)
    return _leading(place, (JET_SCALE * counts).astype(np.int64), JET_COUNTS_MIN)


def _egammas(towers: TriggerTowers) -> TriggerObjects:
    """Return electrons and photons: 3 x 3 electromagnetic towers around the largest, with little hadronic energy behind it."""
    part = towers.electromagnetic
    place = _largest(part, 1, EGAMMA_SEED_COUNTS)
    seed, behind = part[place], towers.hadronic[place]
    narrow = (behind <= HADRONIC_FRACTION_MAX * seed) | (seed == PART_COUNTS_MAX)
    event, row, column = (index[narrow] for index in place)
    counts = _box(_padded(part, 1), event, row, column, 3, 3)
    return _leading((event, row, column), counts, EGAMMA_COUNTS_MIN)


def _muons(particles: Particles, seeds: Seeds) -> TriggerObjects:
    muon = (np.abs(particles.pdg_id) == 13) & (particles.pt > MUON_PT_MIN_GEV)
    found = particles.take(muon & (np.abs(particles.eta) < MUON_ETA_MAX))
    noise = seeds.stream("level-1 muons").standard_normal((len(found), 3)).T
    kept = seeds.stream("level-1 muon efficiency").random(len(found)) < MUON_EFFICIENCY
    pt = found.pt / np.maximum(1.0 + MUON_RESOLUTION * noise[0], 0.2)
    pt = STEP_GEV * np.floor(pt / STEP_GEV)
    eta, phi = found.eta + MUON_ANGLE * noise[1], found.phi + MUON_ANGLE * noise[2]
    order = np.lexsort((-pt[kept], found.event[kept]))
    return TriggerObjects(found.event[kept][order], pt[kept][order], eta[kept][order], phi[kept][order])


def _largest(counts: np.ndarray, reach: int, least: int) -> tuple[np.ndarray, ...]:
    """Return event, row and column of the towers that no other within `reach` exceeds; of equal ones the last."""
    towers = TOWER_ROWS * TOWER_COLUMNS
    unique = counts * towers + np.arange(towers).reshape(TOWER_ROWS, TOWER_COLUMNS)
    across = _padded(unique, reach, -1)
    width = 2 * reach + 1
    rows = np.lib.stride_tricks.sliding_window_view(across, width, axis=1).max(axis=-1)
    around = np.lib.stride_tricks.sliding_window_view(rows, width, axis=2).max(axis=-1)
    return np.nonzero((unique == around) & (counts >= least))


def _padded(counts: np.ndarray, reach: int, beyond: int = 0) -> np.ndarray:
    """Return the towers with `reach` more on every side: a full turn in phi, nothing in eta."""
    turned = np.concatenate([counts[:, :, -reach:], counts, counts[:, :, :reach]], axis=2)
    return np.pad(turned, ((0, 0), (reach, reach), (0, 0)), constant_values=beyond)


def _box(
    padded: np.ndarray, event: np.ndarray, row: np.ndarray, column: np.ndarray, rows: int, columns: int
) -> np.ndarray:
    """Return the sums of boxes with a corner at the given towers."""
    down, right = np.arange(rows)[:, None], np.arange(columns)
    sums: np.ndarray = padded[
        event[:, None, None], row[:, None, None] + down, column[:, None, None] + right
    ].sum(axis=(1, 2))
    return sums


def _leading(place: tuple[np.ndarray, ...], counts: np.ndarray, least: int) -> TriggerObjects:
    """Return the hardest objects of every event, at the centres of their towers."""
    kept = np.flatnonzero(counts >= least)
    order = kept[np.lexsort((-counts[kept], place[0][kept]))]
    event = place[0][order]
    rank = np.arange(len(event)) - np.searchsorted(event, event)
    order = order[rank < OBJECTS_MAX]
    return TriggerObjects(
        event=place[0][order],
        pt=STEP_GEV * counts[order],
        eta=(place[1][order] - TOWER_ROWS // 2 + 0.5) * TOWER_WIDTH,
        phi=(place[2][order] + 0.5) * TOWER_WIDTH - np.pi,
    )
