"""The list of particles around a lepton: the lepton first, then the candidates by falling transverse momentum."""

from __future__ import annotations

import numpy as np

from tamis.events import Frame
from tamis.events.kinematics import delta_phi
from tamis.features.lepton import LEPTON_COLUMNS, leading_leptons
from tamis.features.lists import collection
from tamis.features.rows import Feature, Rows

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
    if len(leptons):
        starts, columns = collection(frame, CANDIDATE_COLUMNS)
        for rows, event, lepton, muon in zip(
            inputs, leptons.event, leptons.values, leptons.muon, strict=True
        ):
            begin, end = starts[event], starts[event + 1]
            _fill(rows, lepton, _MUON if muon else _ELECTRON, [column[begin:end] for column in columns])
    return Rows(inputs, leptons.offsets(len(frame)))


def _fill(rows: np.ndarray, lepton: np.ndarray, kind: int, candidates: list[np.ndarray]) -> None:
    """Fill one event: a batch at once would gather and sort far larger arrays, and is no faster."""
    rows[0, [0, 5, 3, 4]] = lepton[[0, 3, 4, 5]]
    rows[0, kind] = 1.0
    pt, eta, phi, charge, d0, pdg_id = candidates
    with np.errstate(invalid="ignore"):  # what is no number stays none, without a word
        d_eta, d_phi = eta - lepton[1], delta_phi(phi, lepton[2])
        other = (d_eta * d_eta + d_phi * d_phi > OWN_TRACK**2) | (charge == 0)
    order = np.argsort(-pt, kind="stable")  # equal pT keep the order of the file
    order = order[other[order]][: PARTICLES - 1]
    filled = rows[1 : len(order) + 1]
    for column, values in enumerate((pt, d_eta, d_phi, charge, d0)):
        filled[:, column] = values[order]
    types = _TYPE[np.minimum(np.abs(pdg_id[order]), len(_TYPE) - 1)]
    filled[np.arange(len(order)), types] = 1.0


PARTICLE_LIST = Feature("particle_list", (*LEPTON_COLUMNS, *CANDIDATE_COLUMNS), (), particles_of)
