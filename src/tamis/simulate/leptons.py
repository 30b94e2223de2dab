"""Muons and electrons as in a trigger: candidates, their isolation, and their origin in the generator.

Muons are the muon candidates; electrons are the tracks of electrons, with the energy from the better of tracker and
calorimeter. A random fraction `Detector.fake_electron_rate` of charged hadrons is reconstructed as electrons as well, and
remains a hadron in the list of candidates.

Isolation is the transverse momentum of the candidates within 0.3, divided by that of the lepton. Tracks of other
vertices are removed before. The expected pile-up is subtracted from the neutral sum, down to zero: the area of the cone
times the median density of neutral candidates on a grid of 0.5 x 0.52 up to |eta| = 2.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.events.kinematics import delta_r_squared, pairs_in_event
from tamis.simulate.candidates import MASS_GEV, Candidates
from tamis.simulate.filters import ISOLATION_CONE
from tamis.simulate.flavour import UNMATCHED, lepton_origin
from tamis.simulate.generator import GeneratorRecord
from tamis.simulate.seeds import Seeds
from tamis.simulate.truth import GenParticles

ELECTRON, MUON, CHARGED_HADRON = 11, 13, 211
NEUTRAL = (22, 130)
NANOAOD_PT_MIN_GEV = {ELECTRON: 5.0, MUON: 3.0}
MATCH_RADIUS = 0.1
GRID_ETA_MAX, GRID_ETA, GRID_PHI = 2.5, 10, 12  # of the density: number of cells in eta and in phi


@dataclass(frozen=True)
class LeptonCandidates:
    """Leptons of one type, in event order, by descending pT in each event."""

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
    gen_index: np.ndarray  # of the generated lepton in the event's list, or -1
    gen_flavour: np.ndarray  # its origin: 1 prompt, 15 tau, 5 b, 4 c, 3 light hadrons; 0 if not matched

    def __len__(self) -> int:
        """Return the number of leptons of all events."""
        return len(self.event)


def muons(
    candidates: Candidates, density: np.ndarray, gen: GenParticles, record: GeneratorRecord
) -> LeptonCandidates:
    """Return the muons."""
    is_muon = np.abs(candidates.pdg_id) == MUON
    rows = np.flatnonzero(is_muon & (candidates.pt > NANOAOD_PT_MIN_GEV[MUON]))
    return _leptons(MUON, rows, candidates, density, gen, record)


def electrons(
    candidates: Candidates,
    density: np.ndarray,
    gen: GenParticles,
    record: GeneratorRecord,
    seeds: Seeds,
    fake_rate: float,
) -> LeptonCandidates:
    """Return the electrons, including misidentified charged hadrons."""
    hard = candidates.pt > NANOAOD_PT_MIN_GEV[ELECTRON]
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
    record: GeneratorRecord,
) -> LeptonCandidates:
    leptons = candidates.take(rows)
    index, flavour = _match(kind, leptons, gen, record)
    return LeptonCandidates(
        event=leptons.event,
        pdg_id=(-kind * leptons.charge).astype(np.int32),
        charge=leptons.charge,
        pt=leptons.pt,
        eta=leptons.eta,
        phi=leptons.phi,
        mass=np.full(len(rows), MASS_GEV[kind]),
        d0=leptons.d0,
        dz=leptons.dz,
        isolation=_isolation(rows, candidates, density),
        gen_index=index,
        gen_flavour=flavour,
    )


def _isolation(rows: np.ndarray, candidates: Candidates, density: np.ndarray) -> np.ndarray:
    event, eta, phi = candidates.event[rows], candidates.eta[rows], candidates.phi[rows]
    lepton, other = pairs_in_event(event, candidates.event)
    apart = delta_r_squared(eta[lepton], phi[lepton], candidates.eta[other], candidates.phi[other])
    inside = (apart < ISOLATION_CONE**2) & (other != rows[lepton])
    lepton, other = lepton[inside], other[inside]
    charged = candidates.charge[other] != 0
    pt = candidates.pt[other]
    charged_sum = np.bincount(lepton[charged], pt[charged], minlength=len(rows))
    neutral_sum = np.bincount(lepton[~charged], pt[~charged], minlength=len(rows))
    expected = density[event] * np.pi * ISOLATION_CONE**2
    total: np.ndarray = charged_sum + np.maximum(neutral_sum - expected, 0.0)
    return total / candidates.pt[rows]


def _match(
    kind: int, leptons: Candidates, gen: GenParticles, record: GeneratorRecord
) -> tuple[np.ndarray, np.ndarray]:
    """Return index and origin of the nearest generated stable lepton of the same type within 0.1."""
    stable = np.flatnonzero((np.abs(gen.pdg_id) == kind) & (gen.status == 1))
    lepton, match = pairs_in_event(leptons.event, gen.event[stable])
    match = stable[match]
    apart = delta_r_squared(leptons.eta[lepton], leptons.phi[lepton], gen.eta[match], gen.phi[match])
    pair = np.full(len(leptons), -1, np.int64)  # of each lepton: the closest one
    close = np.flatnonzero(apart < MATCH_RADIUS**2)
    falling = close[np.argsort(-apart[close], kind="stable")]
    pair[lepton[falling]] = falling  # the last assignment wins: the smallest distance
    matched = pair >= 0
    index = np.where(matched, match[pair] if len(match) else -1, -1)
    begins = np.searchsorted(gen.event, leptons.event)
    flavour = np.full(len(leptons), UNMATCHED, np.int32)
    flavour[matched] = lepton_origin(record, gen.row[index[matched]])
    return np.where(matched, index - begins, -1).astype(np.int32), flavour
