"""Particle-flow candidates of all events of a block, as flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

MASS_GEV = {11: 0.000511, 13: 0.10566, 211: 0.13957, 22: 0.0, 130: 0.0, 1: 0.0, 2: 0.0}


@dataclass(frozen=True)
class Candidates:
    """Reconstructed particles; lengths in cm, energies in GeV."""

    event: np.ndarray
    pdg_id: np.ndarray  # 211, 11, 13 with the sign of the charge; 22 and 130 neutral; 1 and 2 forward
    charge: np.ndarray
    pt: np.ndarray
    eta: np.ndarray
    phi: np.ndarray
    d0: np.ndarray
    dz: np.ndarray
    pile_up: np.ndarray

    def __len__(self) -> int:
        """Return the number of candidates of all events."""
        return len(self.event)

    @property
    def mass(self) -> np.ndarray:
        """Return the mass of each candidate, by its type."""
        kinds = np.array(sorted(MASS_GEV))
        return np.array([MASS_GEV[kind] for kind in kinds])[np.searchsorted(kinds, np.abs(self.pdg_id))]

    def take(self, rows: np.ndarray) -> Candidates:
        """Return the candidates selected by a mask or by indices."""
        return Candidates(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def by_descending_pt(self) -> Candidates:
        """Return the candidates in event order, the hardest of each event first."""
        return self.take(np.lexsort((-self.pt, self.event)))

    def offsets(self, events: int) -> np.ndarray:
        """Return the offsets of the events; the candidates must be in event order."""
        return np.searchsorted(self.event, np.arange(events + 1))


def concatenate_candidates(parts: Sequence[Candidates]) -> Candidates:
    """Concatenate lists of candidates."""
    return Candidates(
        **{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Candidates)}
    )
