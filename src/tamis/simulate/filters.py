"""A filter between generator and detector: collisions with a particle that may be reconstructed as a lepton.

Collisions are generated in lots of 500, each with its own seed, so that the passing ones do not depend on the number of
events requested. The filter uses generated particles without pile-up, and is looser than a trigger.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from tamis._base import UsageError
from tamis.events.kinematics import delta_r_squared, pairs_in_event, pseudorapidity
from tamis.simulate.generator import GeneratorRecord
from tamis.simulate.particles import INVISIBLE
from tamis.simulate.seeds import Seeds

LOT_EVENTS = 500
LOTS_MAX = 10_000
ISOLATION_CONE = 0.3


@dataclass(frozen=True)
class IsolatedParticle:
    """Requires a stable, hard, central and isolated particle of one of some types."""

    kinds: tuple[int, ...]  # absolute PDG ids
    pt_min_gev: float = 20.0
    eta_max: float = 2.5
    isolation_max: float = 1.0  # visible transverse momentum within 0.3, relative to its own

    def passing(self, record: GeneratorRecord) -> np.ndarray:
        """Return a mask of the collisions with such a particle."""
        px, py, pz, _ = record.momentum
        pt = np.hypot(px, py)
        visible = (record.status > 0) & (pt > 0) & ~np.isin(np.abs(record.pdg_id), INVISIBLE)
        hard = visible & (pt > self.pt_min_gev) & np.isin(np.abs(record.pdg_id), self.kinds)
        rows, others = np.flatnonzero(hard), np.flatnonzero(visible)
        rows = rows[np.abs(pz[rows]) < np.sinh(self.eta_max) * pt[rows]]
        eta, phi = pseudorapidity(pt[others], pz[others]), np.arctan2(py[others], px[others])
        hard_eta, hard_phi = pseudorapidity(pt[rows], pz[rows]), np.arctan2(py[rows], px[rows])
        one, other = pairs_in_event(record.collision[rows], record.collision[others])
        inside = delta_r_squared(hard_eta[one], hard_phi[one], eta[other], phi[other]) < ISOLATION_CONE**2
        around = np.bincount(one[inside], pt[others[other[inside]]], minlength=len(rows)) - pt[rows]
        passed = np.zeros(len(record), bool)
        passed[record.collision[rows[around < self.isolation_max * pt[rows]]]] = True
        return passed


def make_passing(
    make: Callable[[int, int], GeneratorRecord], n: int, selection: IsolatedParticle, seeds: Seeds
) -> tuple[GeneratorRecord, float]:
    """Return exactly n collisions that pass, and the fraction of the first lot that does, which does not depend on n."""
    records: list[GeneratorRecord] = []
    missing, fraction = n, 0.0
    for lot in range(LOTS_MAX):
        record = make(LOT_EVENTS, seeds.pythia(f"event lot {lot}"))
        rows = np.flatnonzero(selection.passing(record))
        if lot == 0:
            fraction = len(rows) / LOT_EVENTS
        rows = rows[:missing]
        if len(rows):
            records.append(take_collisions(record, rows))
            missing -= len(rows)
        if not missing:
            return concatenate_records(records), fraction
    raise UsageError(
        f"only {n - missing} of {LOTS_MAX * LOT_EVENTS} collisions pass the filter, {n} are needed: raise pT-hat"
    )


def take_collisions(record: GeneratorRecord, rows: np.ndarray) -> GeneratorRecord:
    """Return some collisions of a record."""
    chosen = np.zeros(len(record), bool)
    chosen[rows] = True
    kept = chosen[record.collision]
    per_particle = {
        f.name: getattr(record, f.name)[..., kept]
        for f in fields(GeneratorRecord)
        if f.name not in ("offsets", "info")
    }
    return GeneratorRecord(
        offsets=np.concatenate([[0], np.cumsum(np.diff(record.offsets)[chosen])]),
        info={name: values[chosen] for name, values in record.info.items()},
        **per_particle,
    )


def concatenate_records(records: list[GeneratorRecord]) -> GeneratorRecord:
    """Concatenate the collisions of several records."""
    sizes = np.concatenate([np.diff(record.offsets) for record in records])
    joined = {
        f.name: np.concatenate([getattr(record, f.name) for record in records], axis=-1)
        for f in fields(GeneratorRecord)
        if f.name not in ("offsets", "info")
    }
    return GeneratorRecord(
        offsets=np.concatenate([[0], np.cumsum(sizes)]),
        info={name: np.concatenate([r.info[name] for r in records]) for name in records[0].info},
        **joined,
    )
