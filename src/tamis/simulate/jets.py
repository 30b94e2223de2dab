"""Jets: anti-kT by FastJet, for all events of a block in one call."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType

import awkward as ak
import numpy as np

from tamis._base import require
from tamis.events.kinematics import pseudorapidity
from tamis.simulate.candidates import Candidates

AXES = ("px", "py", "pz", "E")


@dataclass(frozen=True)
class ClusteredJets:
    """Jets in event order, by descending pT in each event, and their constituents."""

    event: np.ndarray
    pt: np.ndarray
    eta: np.ndarray
    phi: np.ndarray
    mass: np.ndarray
    offsets: np.ndarray  # of each jet's constituents
    constituents: np.ndarray  # indices of candidates, by descending transverse momentum

    def __len__(self) -> int:
        """Return the number of jets of all events."""
        return len(self.event)

    @property
    def multiplicity(self) -> np.ndarray:
        """Return the number of constituents of each jet."""
        return np.diff(self.offsets)

    @property
    def owner(self) -> np.ndarray:
        """Return the index of each constituent's jet."""
        return np.repeat(np.arange(len(self)), self.multiplicity)


def four_momenta(candidates: Candidates) -> np.ndarray:
    """Return px, py, pz, E: (4, n)."""
    px, py = candidates.pt * np.cos(candidates.phi), candidates.pt * np.sin(candidates.phi)
    pz = candidates.pt * np.sinh(candidates.eta)
    return np.stack([px, py, pz, np.sqrt(px**2 + py**2 + pz**2 + candidates.mass**2)])


def anti_kt(
    candidates: Candidates, momenta: np.ndarray, events: int, radius: float, pt_min_gev: float
) -> ClusteredJets:
    """Cluster every event with the anti-kT algorithm; the candidates must be in event order."""
    library = fastjet()
    begins = candidates.offsets(events)
    indices = library.ClusterSequence(
        grouped(momenta, begins), library.JetDefinition(library.antikt_algorithm, radius)
    ).constituent_index(pt_min_gev)
    per_jet = ak.flatten(indices + begins[:-1])
    rows = ak.to_numpy(ak.flatten(per_jet)).astype(np.int64)
    sizes = ak.to_numpy(ak.num(per_jet)).astype(np.int64)
    event = np.repeat(np.arange(events), ak.to_numpy(ak.num(indices)))
    owner = np.repeat(np.arange(len(sizes)), sizes)
    px, py, pz, energy = sums(momenta[:, rows], owner, len(sizes))
    order = np.lexsort((-np.hypot(px, py), event))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    inside = np.lexsort((rows, rank[owner]))  # candidates of an event are already in descending pT
    pt, pz = np.hypot(px, py)[order], pz[order]
    return ClusteredJets(
        event=event[order],
        pt=pt,
        eta=pseudorapidity(pt, pz),
        phi=np.arctan2(py, px)[order],
        mass=np.sqrt(np.maximum(energy[order] ** 2 - pt**2 - pz**2, 0.0)),
        offsets=np.concatenate([[0], np.cumsum(sizes[order])]),
        constituents=rows[inside],
    )


def sums(momenta: np.ndarray, owner: np.ndarray, owners: int) -> np.ndarray:
    """Return the sums of the momenta of each owner."""
    return np.stack([np.bincount(owner, component, minlength=owners) for component in momenta])


def grouped(momenta: np.ndarray, offsets: np.ndarray) -> ak.Array:
    """Return the momenta in FastJet's form: one list of particles per event or jet."""
    content = ak.contents.RecordArray(
        [ak.contents.NumpyArray(np.ascontiguousarray(component)) for component in momenta],
        list(AXES),
        parameters={"__record__": "Momentum4D"},
    )
    return ak.Array(ak.contents.ListOffsetArray(ak.index.Index64(offsets), content))


@lru_cache(maxsize=1)
def fastjet() -> ModuleType:
    """Import FastJet without printing its banner."""
    library = require("fastjet", extra="simulate", purpose="clustering jets")
    library._swig.ClusterSequence.set_fastjet_banner_stream(None)  # not exposed elsewhere by the wrapper
    return library
