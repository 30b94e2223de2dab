"""High-level features of an event with a lepton: the lepton, the jets that are not it, what is missing."""

from __future__ import annotations

import numpy as np

from quickbeam.events import Frame
from quickbeam.features.lepton import LEPTON_COLUMNS, Leptons, leading_leptons
from quickbeam.features.lists import collection, values_of, wrap_phi
from quickbeam.features.rows import Feature, Rows

JET_PT_MIN_GEV, JET_ETA_MAX = 30.0, 2.4
JET_IS_LEPTON = 0.4  # a jet this near is the lepton's own
B_TAG = 0.5
JET_COLUMNS = ("Jet_pt", "Jet_eta", "Jet_phi", "Jet_btag")
LEPTON_EVENT_VALUES = (
    "ht",  # GeV, over jets above 30 GeV within 2.4 that are not the lepton; the four below of the same jets
    "jets",
    "b jets",
    "leading jet pt",  # GeV, 0 without one
    "second jet pt",
    "largest b-tag",  # 0 without a jet
    "met",  # GeV
    "mt",  # GeV, transverse mass of lepton and missing momentum
    "met phi",  # relative to the lepton, absolute
    "lepton pt",  # GeV
    "lepton eta",  # absolute
    "lepton isolation",
    "lepton d0",  # cm, absolute
    "lepton charge",
    "lepton is muon",
    "lepton share",  # pT of the lepton over that of the jets within 0.4 of it; 1 without one
)


def lepton_event_of(frame: Frame) -> Rows:
    """Return (events with a lepton, 16)."""
    leptons = leading_leptons(frame)
    inputs = np.zeros((len(leptons), len(LEPTON_EVENT_VALUES)), np.float32)
    if len(leptons):
        pt, eta, phi, isolation, charge, d0 = leptons.values.T
        inputs[:, :6], own = _jets(frame, leptons)
        met, met_phi = (values_of(frame, name)[leptons.event] for name in ("MET_pt", "MET_phi"))
        d_phi = np.abs(wrap_phi(met_phi - phi))
        inputs[:, 6], inputs[:, 8] = met, d_phi
        inputs[:, 7] = 2.0 * np.sqrt(pt * met) * np.sin(d_phi / 2.0)  # no cancellation at small angles
        inputs[:, 9:15] = np.stack([pt, np.abs(eta), isolation, np.abs(d0), charge, leptons.muon], axis=1)
        inputs[:, 15] = pt / np.where(own > 0, own, pt)
    return Rows(inputs, leptons.offsets(len(frame)))


def _jets(frame: Frame, leptons: Leptons) -> tuple[np.ndarray, np.ndarray]:
    """Return the six numbers of the jets, and the pT of those that are the lepton's own."""
    n = len(leptons)
    starts, columns = collection(frame, JET_COLUMNS)
    row, source = leptons.members(starts)
    pt, eta, phi, tag = (column[source] for column in columns)
    d_eta, d_phi = eta - leptons.values[row, 1], wrap_phi(phi - leptons.values[row, 2])
    near = d_eta * d_eta + d_phi * d_phi < JET_IS_LEPTON**2
    own = np.bincount(row[near], pt[near], minlength=n)
    kept = ~near & (pt > JET_PT_MIN_GEV) & (np.abs(eta) < JET_ETA_MAX)
    row, pt, tag = row[kept], pt[kept], tag[kept]
    order = np.lexsort((-pt, row))
    row, pt, tag = row[order], pt[order], tag[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    found = np.zeros((n, 6), np.float32)
    found[:, 0] = np.bincount(row, pt, minlength=n)
    found[:, 1] = np.bincount(row, minlength=n)
    found[:, 2] = np.bincount(row[tag > B_TAG], minlength=n)
    for place in (0, 1):
        found[row[rank == place], 3 + place] = pt[rank == place]
    np.maximum.at(found[:, 5], row, tag)
    return found, own


LEPTON_EVENT = Feature(
    "lepton_event", (*LEPTON_COLUMNS, *JET_COLUMNS, "MET_pt", "MET_phi"), (), lepton_event_of
)
