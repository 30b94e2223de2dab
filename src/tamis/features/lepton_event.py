"""High-level features of an event with a lepton: the lepton, the other jets, the missing transverse momentum."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from tamis.events import Frame
from tamis.events.kinematics import delta_phi_of_floats
from tamis.features.lepton import LEPTON_COLUMNS, leading_leptons
from tamis.features.lists import flat_columns, values_of
from tamis.features.rows import Feature, Rows

JET_PT_MIN_GEV, JET_ETA_MAX = 30.0, 2.4
LEPTON_JET_RADIUS = 0.4  # a jet within this distance is the lepton itself
B_TAG_MIN = 0.5
EVENT_JET_COLUMNS = ("Jet_pt", "Jet_eta", "Jet_phi", "Jet_btag")
LEPTON_EVENT_VALUES = (
    "ht",  # GeV, over jets above 30 GeV within 2.4 that are not the lepton; the next four are of the same jets
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
    """Return `LEPTON_EVENT_VALUES` of the events with a lepton: (events, 16)."""
    leptons = leading_leptons(frame)
    inputs = np.zeros((len(leptons), len(LEPTON_EVENT_VALUES)), np.float32)
    if len(leptons):
        starts, columns = flat_columns(frame, EVENT_JET_COLUMNS)
        met, met_phi = (values_of(frame, name) for name in ("MET_pt", "MET_phi"))
        for row, event in enumerate(leptons.event.tolist()):
            begin, end = starts[event], starts[event + 1]
            jets = zip(*(column[begin:end].tolist() for column in columns), strict=True)
            lepton, muon = leptons.values[row].tolist(), float(leptons.muon[row])
            inputs[row] = _values(lepton, muon, jets, float(met[event]), float(met_phi[event]))
    return Rows(inputs, leptons.offsets(len(frame)))


def _values(
    lepton: list[float], muon: float, jets: Iterable[tuple[float, ...]], met: float, met_phi: float
) -> tuple[float, ...]:
    """Return the values of one event; for a few jets Python floats are faster than arrays."""
    lepton_pt, lepton_eta, lepton_phi, isolation, charge, d0 = lepton
    near_lepton, pts, tags = 0.0, [], []
    for pt, eta, phi, tag in jets:
        if math.hypot(eta - lepton_eta, delta_phi_of_floats(phi, lepton_phi)) < LEPTON_JET_RADIUS:
            near_lepton += pt
        elif pt > JET_PT_MIN_GEV and abs(eta) < JET_ETA_MAX:
            pts.append(pt)
            tags.append(tag)
    leading, second, *_ = *sorted(pts, reverse=True), 0.0, 0.0
    d_phi = abs(delta_phi_of_floats(met_phi, lepton_phi))
    return (
        sum(pts),
        len(pts),
        sum(tag > B_TAG_MIN for tag in tags),
        leading,
        second,
        max(0.0, *tags) if tags else 0.0,
        met,
        2.0 * math.sqrt(max(lepton_pt * met, 0.0)) * math.sin(d_phi / 2.0),  # no cancellation at small angles
        d_phi,
        lepton_pt,
        abs(lepton_eta),
        isolation,
        abs(d0),
        charge,
        muon,
        lepton_pt / near_lepton if near_lepton > 0 else 1.0,
    )


LEPTON_EVENT = Feature(
    "lepton_event", (*LEPTON_COLUMNS, *EVENT_JET_COLUMNS, "MET_pt", "MET_phi"), (), lepton_event_of
)
