"""The list of particles around a lepton: the lepton first, then the candidates by falling transverse momentum."""

from __future__ import annotations

import numpy as np

from quickbeam.events import Frame
from quickbeam.features.lepton import LEPTON_COLUMNS, leading_leptons
from quickbeam.features.lists import collection, wrap_phi
from quickbeam.features.rows import Feature, Rows

PARTICLES = 100
CANDIDATE_COLUMNS = tuple(f"PFCands_{name}" for name in ("pt", "eta", "phi", "charge", "d0", "pdgId"))
PARTICLE_VALUES = (
    "pt",  # GeV
    "eta",  # relative to the lepton
    "phi",
    "charge",
    "d0",  # cm, transverse impact parameter
    "isolation",  # relative; of the lepton alone
    "charged hadron",
    "neutral hadron",
    "photon",
    "electron",
    "muon",
)
OWN_TRACK = 0.01  # a charged candidate this near is the lepton itself
_TYPE = np.full(212, PARTICLE_VALUES.index("neutral hadron"))
_TYPE[[211, 22, 2, 11, 13]] = [6, 8, 8, 9, 10]  # 2: electromagnetic energy in the forward calorimeter
_ELECTRON, _MUON = _TYPE[11], _TYPE[13]


def particles_of(frame: Frame) -> Rows:
    """Return (events with a lepton, 100, 11)."""
    leptons = leading_leptons(frame)
    inputs = np.zeros((len(leptons), PARTICLES, len(PARTICLE_VALUES)), np.float32)
    offsets = leptons.offsets(len(frame))
    if not len(leptons):
        return Rows(inputs, offsets)
    lepton_pt, lepton_eta, lepton_phi, isolation, charge, d0 = leptons.values.T
    inputs[:, 0, 0], inputs[:, 0, 3], inputs[:, 0, 4], inputs[:, 0, 5] = lepton_pt, charge, d0, isolation
    inputs[np.arange(len(leptons)), 0, np.where(leptons.muon, _MUON, _ELECTRON)] = 1.0

    starts, (pt, eta, phi, charge, d0, kind) = collection(frame, CANDIDATE_COLUMNS)
    row, source = leptons.members(starts)
    d_eta = eta[source] - lepton_eta[row]
    d_phi = wrap_phi(phi[source] - lepton_phi[row])
    other = (d_eta * d_eta + d_phi * d_phi > OWN_TRACK**2) | (charge[source] == 0)
    row, source, d_eta, d_phi = row[other], source[other], d_eta[other], d_phi[other]

    order = np.lexsort((-pt[source], row))  # equal pT keep the order of the file
    row = row[order]
    rank = np.arange(1, len(row) + 1) - np.searchsorted(row, row)
    first = rank < PARTICLES
    order, row, rank = order[first], row[first], rank[first]
    source = source[order]
    values = (pt[source], d_eta[order], d_phi[order], charge[source], d0[source])
    inputs[row, rank, : len(values)] = np.stack(values, axis=1)
    inputs[row, rank, _TYPE[np.minimum(np.abs(kind[source]), len(_TYPE) - 1)]] = 1.0
    return Rows(inputs, offsets)


PARTICLE_LIST = Feature("particle_list", (*LEPTON_COLUMNS, *CANDIDATE_COLUMNS), (), particles_of)
