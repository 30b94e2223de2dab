"""The lepton that a single-lepton path takes: the hardest one that is isolated, loosely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.events import Frame
from tamis.features.lists import collection, lists_of

PT_MIN_GEV, ETA_MAX, ISOLATION_MAX = 23.0, 2.4, 0.8
KINDS = ("Electron", "Muon")
PROPERTIES = ("pt", "eta", "phi", "pfRelIso03_all", "charge", "dxy")
LEPTON_COLUMNS = tuple(f"{kind}_{name}" for kind in KINDS for name in PROPERTIES)
_COLUMNS = {kind: tuple(f"{kind}_{name}" for name in PROPERTIES) for kind in KINDS}


@dataclass(frozen=True, slots=True)
class Leptons:
    """One lepton for each event that has one."""

    event: np.ndarray  # row of the event, rising
    values: np.ndarray  # (leptons, 6), as in PROPERTIES
    muon: np.ndarray  # bool

    def __len__(self) -> int:
        """Return the number of events with a lepton."""
        return len(self.event)

    def offsets(self, events: int) -> np.ndarray:
        """Return where the rows of each event begin."""
        found: np.ndarray = np.searchsorted(self.event, np.arange(events + 1))
        return found


def leading_leptons(frame: Frame) -> Leptons:
    """Return the hardest lepton above 23 GeV, within 2.4, with a relative isolation below 0.8, of each event."""
    rows, values, is_muon = [], [], []
    for kind in KINDS:
        names = _COLUMNS[kind]
        if not (lists_of(frame, names[0]).flat > PT_MIN_GEV).any():
            continue  # most events end here, before another column is touched
        starts, lists = collection(frame, names)
        pt, eta, _, isolation, _, _ = lists
        good = np.flatnonzero((pt > PT_MIN_GEV) & (np.abs(eta) < ETA_MAX) & (isolation < ISOLATION_MAX))
        if len(good):
            rows.append(np.searchsorted(starts, good, "right") - 1)
            values.append(np.array([one[good] for one in lists], np.float32).T)
            is_muon.append(np.full(len(good), kind == "Muon"))
    if not rows:
        return Leptons(np.empty(0, np.int64), np.empty((0, len(PROPERTIES)), np.float32), np.empty(0, bool))
    event, found, muon = np.concatenate(rows), np.concatenate(values), np.concatenate(is_muon)
    if len(event) == 1:
        return Leptons(event, found, muon)
    order = np.lexsort((-found[:, 0], event))  # of equal ones the electron, then the order of the file
    order = order[np.diff(event[order], prepend=-1) > 0]
    return Leptons(event[order], found[order], muon[order])
