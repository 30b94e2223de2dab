"""A filter behind the generator, before the costly detector: collisions with a particle that may pass for a lepton.

Collisions are made in lots of 500, each lot with a seed of its own, so that the ones that pass do not depend on how
many are wanted. The filter looks at the generator's truth without pile-up, and is looser than what a trigger asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from tamis._base import UsageError
from tamis.events.kinematics import delta_r_squared, pairs_in_event, pseudorapidity
from tamis.simulate.generator import Record
from tamis.simulate.particles import INVISIBLE
from tamis.simulate.seeds import Seeds

LOT = 500
MOST_LOTS = 10_000
CONE = 0.3


@dataclass(frozen=True)
class IsolatedParticle:
    """At least one stable particle of some kinds, hard, central and on its own."""

    kinds: tuple[int, ...]
    pt_min_gev: float = 20.0
    eta_max: float = 2.5
    isolation_max: float = 1.0  # visible transverse momentum within 0.3, divided by its own

    def passing(self, record: Record) -> np.ndarray:
        """Tell which collisions have one."""
        px, py, pz, _ = record.momentum
        pt = np.hypot(px, py)
        visible = (record.status > 0) & (pt > 0) & ~np.isin(np.abs(record.pdg_id), INVISIBLE)
        hard = visible & (pt > self.pt_min_gev) & np.isin(np.abs(record.pdg_id), self.kinds)
        rows, others = np.flatnonzero(hard), np.flatnonzero(visible)
        rows = rows[np.abs(pz[rows]) < np.sinh(self.eta_max) * pt[rows]]
        eta, phi = pseudorapidity(pt[others], pz[others]), np.arctan2(py[others], px[others])
        own_eta, own_phi = pseudorapidity(pt[rows], pz[rows]), np.arctan2(py[rows], px[rows])
        one, other = pairs_in_event(record.collision[rows], record.collision[others])
        inside = delta_r_squared(own_eta[one], own_phi[one], eta[other], phi[other]) < CONE**2
        around = np.bincount(one[inside], pt[others[other[inside]]], minlength=len(rows)) - pt[rows]
        passed = np.zeros(len(record), bool)
        passed[record.collision[rows[around < self.isolation_max * pt[rows]]]] = True
        return passed


def make_passing(
    make: Callable[[int, int], Record], n: int, wanted: IsolatedParticle, seeds: Seeds
) -> tuple[Record, int]:
    """Return exactly n collisions that pass, and how many were made for them."""
    found: list[Record] = []
    missing = n
    for lot in range(MOST_LOTS):
        record = make(LOT, seeds.pythia(f"event lot {lot}"))
        rows = np.flatnonzero(wanted.passing(record))[:missing]
        if len(rows):
            found.append(take(record, rows))
            missing -= len(rows)
        if not missing:
            return concatenate(found), (lot + 1) * LOT
    raise UsageError(
        f"of {MOST_LOTS * LOT} collisions {n - missing} pass the filter, {n} are needed: is pT-hat too low?"
    )


def take(record: Record, rows: np.ndarray) -> Record:
    """Return some collisions of a record."""
    chosen = np.zeros(len(record), bool)
    chosen[rows] = True
    kept = chosen[record.collision]
    per_particle = {
        f.name: getattr(record, f.name)[..., kept]
        for f in fields(Record)
        if f.name not in ("offsets", "info")
    }
    return Record(
        offsets=np.concatenate([[0], np.cumsum(np.diff(record.offsets)[chosen])]),
        info={name: values[chosen] for name, values in record.info.items()},
        **per_particle,
    )


def concatenate(records: list[Record]) -> Record:
    """Put collisions one after the other."""
    sizes = np.concatenate([np.diff(record.offsets) for record in records])
    joined = {
        f.name: np.concatenate([getattr(record, f.name) for record in records], axis=-1)
        for f in fields(Record)
        if f.name not in ("offsets", "info")
    }
    return Record(
        offsets=np.concatenate([[0], np.cumsum(sizes)]),
        info={name: np.concatenate([r.info[name] for r in records]) for name in records[0].info},
        **joined,
    )
