"""The lepton that a single-lepton path selects: the hardest loosely isolated one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.events import Frame
from tamis.features.lists import flat_columns, lists_of

LEPTON_PT_MIN_GEV, LEPTON_ETA_MAX, LEPTON_ISOLATION_MAX = 23.0, 2.4, 0.8
LEPTON_KINDS = ("Electron", "Muon")
LEPTON_PROPERTIES = ("pt", "eta", "phi", "pfRelIso03_all", "charge", "dxy")
COLUMNS_BY_KIND = {kind: tuple(f"{kind}_{name}" for name in LEPTON_PROPERTIES) for kind in LEPTON_KINDS}
LEPTON_COLUMNS = tuple(name for names in COLUMNS_BY_KIND.values() for name in names)


@dataclass(frozen=True, slots=True)
class LeadingLeptons:
    """One lepton for each event that has one."""

    event: np.ndarray  # row of the event, in ascending order
    values: np.ndarray  # (leptons, 6): LEPTON_PROPERTIES
    muon: np.ndarray  # bool

    def __len__(self) -> int:
        """Return the number of events with a lepton."""
        return len(self.event)

    def offsets(self, events: int) -> np.ndarray:
        """Return the offsets of the rows of each event."""
        offsets: np.ndarray = np.searchsorted(self.event, np.arange(events + 1))
        return offsets


def leading_leptons(frame: Frame) -> LeadingLeptons:
    """Return each event's hardest lepton with pT > 23 GeV, |eta| < 2.4 and a relative isolation below 0.8."""
    rows, values, is_muon = [], [], []
    for kind in LEPTON_KINDS:
        names = COLUMNS_BY_KIND[kind]
        if not (lists_of(frame, names[0]).flat > LEPTON_PT_MIN_GEV).any():
            continue  # rejects most events before another column is read
        starts, lists = flat_columns(frame, names)
        pt, eta, _, isolation, _, _ = lists
        good = np.flatnonzero(
            (pt > LEPTON_PT_MIN_GEV) & (np.abs(eta) < LEPTON_ETA_MAX) & (isolation < LEPTON_ISOLATION_MAX)
        )
        if len(good):
            rows.append(np.searchsorted(starts, good, "right") - 1)
            values.append(np.array([column[good] for column in lists], np.float32).T)
            is_muon.append(np.full(len(good), kind == "Muon"))
    if not rows:
        nothing = np.empty((0, len(LEPTON_PROPERTIES)), np.float32)
        return LeadingLeptons(np.empty(0, np.int64), nothing, np.empty(0, bool))
    event, leptons, muon = np.concatenate(rows), np.concatenate(values), np.concatenate(is_muon)
    if len(event) == 1:
        return LeadingLeptons(event, leptons, muon)
    order = np.lexsort((-leptons[:, 0], event))  # ties: electrons first, then the order of the file
    order = order[np.diff(event[order], prepend=-1) > 0]
    return LeadingLeptons(event[order], leptons[order], muon[order])
