"""The particles around a lepton: the lepton first, then the candidates by descending transverse momentum."""

from __future__ import annotations

import numpy as np

from tamis.events import Frame
from tamis.events.kinematics import delta_phi
from tamis.features.lepton import LEPTON_COLUMNS, leading_leptons
from tamis.features.lists import flat_columns
from tamis.features.rows import Feature, Rows

PARTICLES_MAX = 100
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
LEPTON_TRACK_RADIUS = 0.01  # a charged candidate within this distance is the lepton itself
# The column of the one-hot type by |pdgId|, the last one for all larger ids.
TYPE_COLUMN = np.full(212, PARTICLE_VALUES.index("neutral hadron"))
TYPE_COLUMN[[211, 22, 2, 11, 13]] = [6, 8, 8, 9, 10]  # 2: electromagnetic energy in the forward calorimeter
ELECTRON_COLUMN, MUON_COLUMN = TYPE_COLUMN[11], TYPE_COLUMN[13]


def particles_of(frame: Frame) -> Rows:
    """Return `PARTICLE_VALUES` of the particles of the events with a lepton: (events, 100, 11)."""
    leptons = leading_leptons(frame)
    inputs = np.zeros((len(leptons), PARTICLES_MAX, len(PARTICLE_VALUES)), np.float32)
    if len(leptons):
        starts, columns = flat_columns(frame, CANDIDATE_COLUMNS)
        for rows, event, lepton, muon in zip(
            inputs, leptons.event, leptons.values, leptons.muon, strict=True
        ):
            begin, end = starts[event], starts[event + 1]
            candidates = [column[begin:end] for column in columns]
            _fill(rows, lepton, MUON_COLUMN if muon else ELECTRON_COLUMN, candidates)
    return Rows(inputs, leptons.offsets(len(frame)))


def _fill(rows: np.ndarray, lepton: np.ndarray, type_column: int, candidates: list[np.ndarray]) -> None:
    """Fill one event; a whole batch at once would need far larger arrays and is not faster."""
    rows[0, [0, 5, 3, 4]] = lepton[[0, 3, 4, 5]]
    rows[0, type_column] = 1.0
    pt, eta, phi, charge, d0, pdg_id = candidates
    with np.errstate(invalid="ignore"):  # NaN and infinity propagate without a warning
        d_eta, d_phi = eta - lepton[1], delta_phi(phi, lepton[2])
        other = (d_eta * d_eta + d_phi * d_phi > LEPTON_TRACK_RADIUS**2) | (charge == 0)
    order = np.argsort(-pt, kind="stable")  # ties keep the order of the file
    order = order[other[order]][: PARTICLES_MAX - 1]
    filled = rows[1 : len(order) + 1]
    for column, values in enumerate((pt, d_eta, d_phi, charge, d0)):
        filled[:, column] = values[order]
    types = TYPE_COLUMN[np.minimum(np.abs(pdg_id[order]), len(TYPE_COLUMN) - 1)]
    filled[np.arange(len(order)), types] = 1.0


PARTICLE_LIST = Feature("particle_list", (*LEPTON_COLUMNS, *CANDIDATE_COLUMNS), (), particles_of)
