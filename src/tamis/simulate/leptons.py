"""Muons and electrons, as a trigger has them: candidates, their isolation, and what they are in truth.

A muon is a candidate that was seen as one; an electron the track of an electron, with the better of tracker and
calorimeter for its energy. A charged hadron is taken for an electron at random, with `Detector.fake_electron_rate`;
it stays a hadron in the list of candidates.

Isolation is the transverse momentum of the candidates within 0.3, divided by the lepton's own. Tracks of other
vertices were removed before. Of the neutral sum the pile-up that is expected is taken off: the area of the cone times
the median density of neutral candidates over a grid of 0.5 x 0.52 up to |eta| = 2.5; it does not fall below zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.events.kinematics import delta_r_squared, pairs_in_event
from tamis.simulate.candidates import MASS_GEV, Candidates
from tamis.simulate.flavour import UNMATCHED, lepton_origin
from tamis.simulate.generator import Record
from tamis.simulate.seeds import Seeds
from tamis.simulate.truth import GenParticles

ELECTRON, MUON, CHARGED_HADRON = 11, 13, 211
NEUTRAL = (22, 130)
PT_MIN_GEV = {ELECTRON: 5.0, MUON: 3.0}  # NanoAOD's
CONE = 0.3
MATCH = 0.1
GRID_ETA_MAX, GRID_ETA, GRID_PHI = 2.5, 10, 12  # the grid of the density: cells in eta and in phi


@dataclass(frozen=True)
class Leptons:
    """Leptons of one kind, in event order, the hardest of each event first."""

    event: np.ndarray
    pdg_id: np.ndarray
    charge: np.ndarray
    pt: np.ndarray
    eta: np.ndarray
    phi: np.ndarray
    mass: np.ndarray
    d0: np.ndarray
    dz: np.ndarray
    isolation: np.ndarray  # relative, charged and neutral
    gen_index: np.ndarray  # of the generated lepton in the event's list, -1 where there is none
    gen_flavour: (
        np.ndarray
    )  # where that comes from: 1 prompt, 15 tau, 5 b, 4 c, 3 light hadrons; 0 without one

    def __len__(self) -> int:
        """Return the number of leptons of all events."""
        return len(self.event)


def muons(candidates: Candidates, density: np.ndarray, gen: GenParticles, record: Record) -> Leptons:
    """Return the muons."""
    is_muon = np.abs(candidates.pdg_id) == MUON
    rows = np.flatnonzero(is_muon & (candidates.pt > PT_MIN_GEV[MUON]))
    return _leptons(MUON, rows, candidates, density, gen, record)


def electrons(
    candidates: Candidates,
    density: np.ndarray,
    gen: GenParticles,
    record: Record,
    seeds: Seeds,
    fake_rate: float,
) -> Leptons:
    """Return the electrons, and the charged hadrons that are taken for some."""
    hard = candidates.pt > PT_MIN_GEV[ELECTRON]
    kind = np.abs(candidates.pdg_id)
    hadron = np.flatnonzero((kind == CHARGED_HADRON) & hard)
    fake = hadron[seeds.stream("fake electrons").random(len(hadron)) < fake_rate]
    rows = np.sort(np.concatenate([np.flatnonzero((kind == ELECTRON) & hard), fake]))
    return _leptons(ELECTRON, rows, candidates, density, gen, record)


def neutral_density(candidates: Candidates, events: int) -> np.ndarray:
    """Return the median transverse momentum of neutral candidates per unit of area, of each event."""
    central = np.isin(candidates.pdg_id, NEUTRAL) & (np.abs(candidates.eta) < GRID_ETA_MAX)
    i_eta = ((candidates.eta[central] + GRID_ETA_MAX) * (GRID_ETA / (2 * GRID_ETA_MAX))).astype(np.int64)
    i_phi = ((candidates.phi[central] + np.pi) * (GRID_PHI / (2 * np.pi))).astype(np.int64) % GRID_PHI
    cells = GRID_ETA * GRID_PHI
    cell = candidates.event[central] * cells + i_eta * GRID_PHI + i_phi
    sums = np.bincount(cell, candidates.pt[central], minlength=events * cells)
    area = 2 * GRID_ETA_MAX * 2 * np.pi / cells
    density: np.ndarray = np.median(sums.reshape(events, cells), axis=1) / area
    return density


def _leptons(
    kind: int,
    rows: np.ndarray,
    candidates: Candidates,
    density: np.ndarray,
    gen: GenParticles,
    record: Record,
) -> Leptons:
    found = candidates.take(rows)
    index, flavour = _truth(kind, found, gen, record)
    return Leptons(
        event=found.event,
        pdg_id=(-kind * found.charge).astype(np.int32),
        charge=found.charge,
        pt=found.pt,
        eta=found.eta,
        phi=found.phi,
        mass=np.full(len(rows), MASS_GEV[kind]),
        d0=found.d0,
        dz=found.dz,
        isolation=_isolation(rows, candidates, density),
        gen_index=index,
        gen_flavour=flavour,
    )


def _isolation(rows: np.ndarray, candidates: Candidates, density: np.ndarray) -> np.ndarray:
    event, eta, phi = candidates.event[rows], candidates.eta[rows], candidates.phi[rows]
    lepton, other = pairs_in_event(event, candidates.event)
    apart = delta_r_squared(eta[lepton], phi[lepton], candidates.eta[other], candidates.phi[other])
    inside = (apart < CONE**2) & (other != rows[lepton])
    lepton, other = lepton[inside], other[inside]
    charged = candidates.charge[other] != 0
    pt = candidates.pt[other]
    charged_sum = np.bincount(lepton[charged], pt[charged], minlength=len(rows))
    neutral_sum = np.bincount(lepton[~charged], pt[~charged], minlength=len(rows))
    expected = density[event] * np.pi * CONE**2
    total: np.ndarray = charged_sum + np.maximum(neutral_sum - expected, 0.0)
    return total / candidates.pt[rows]


def _truth(kind: int, found: Candidates, gen: GenParticles, record: Record) -> tuple[np.ndarray, np.ndarray]:
    """Return index and origin of the stable lepton of the same kind that is nearest within 0.1."""
    stable = np.flatnonzero((np.abs(gen.pdg_id) == kind) & (gen.status == 1))
    lepton, match = pairs_in_event(found.event, gen.event[stable])
    match = stable[match]
    apart = delta_r_squared(found.eta[lepton], found.phi[lepton], gen.eta[match], gen.phi[match])
    pair = _nearest(lepton, apart, MATCH**2, len(found))
    has = pair >= 0
    place = np.where(has, match[pair] if len(match) else -1, -1)
    begins = np.searchsorted(gen.event, found.event)
    flavour = np.full(len(found), UNMATCHED, np.int32)
    flavour[has] = lepton_origin(record, gen.row[place[has]])
    return np.where(has, place - begins, -1).astype(np.int32), flavour


def _nearest(lepton: np.ndarray, distance: np.ndarray, limit: float, leptons: int) -> np.ndarray:
    """Return for each lepton the index of its closest pair below a distance, or -1."""
    nearest = np.full(leptons, -1, np.int64)
    close = np.flatnonzero(distance < limit)
    falling = close[np.argsort(-distance[close], kind="stable")]
    nearest[lepton[falling]] = falling  # the last assignment wins: the closest pair
    return nearest
