"""The particles that reach the detector, of all events of a block, as flat arrays in event order."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from tamis.events.kinematics import pseudorapidity
from tamis.simulate.generator import Generator, GeneratorRecord

INVISIBLE = (12, 14, 16)
CM_PER_MM = 0.1


@dataclass(frozen=True)
class Particles:
    """Stable visible particles; lengths in cm, energies in GeV."""

    event: np.ndarray
    pdg_id: np.ndarray
    charge: np.ndarray
    pt: np.ndarray
    eta: np.ndarray
    phi: np.ndarray
    energy: np.ndarray
    radius: np.ndarray  # transverse distance of the production vertex from the beam
    d0: np.ndarray  # transverse impact parameter
    dz: np.ndarray  # longitudinal impact parameter with respect to the particle's own collision
    pile_up: np.ndarray  # bool

    def __len__(self) -> int:
        """Return the number of particles of all events."""
        return len(self.event)

    def take(self, rows: np.ndarray) -> Particles:
        """Return the particles selected by a mask or by indices."""
        return Particles(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def merge(first: Particles, second: Particles) -> Particles:
    """Return the particles of two sets in event order."""
    joined = Particles(
        **{f.name: np.concatenate([getattr(first, f.name), getattr(second, f.name)]) for f in fields(first)}
    )
    return joined.take(np.argsort(joined.event, kind="stable"))


def visible(record: GeneratorRecord, generator: Generator, eta_max: float, pt_min_gev: float) -> Particles:
    """Return the stable, interacting particles in the acceptance."""
    px, py, pz, energy = record.momentum
    pt = np.hypot(px, py)
    inside = np.abs(pz) < np.sinh(eta_max) * pt
    kept = (record.status > 0) & inside & (pt > pt_min_gev) & ~np.isin(np.abs(record.pdg_id), INVISIBLE)
    px, py, pz, energy, pt = px[kept], py[kept], pz[kept], energy[kept], pt[kept]
    x, y, z = record.vertex[:, kept] * CM_PER_MM
    pdg_id = record.pdg_id[kept]
    return Particles(
        event=record.collision[kept],
        pdg_id=pdg_id,
        charge=generator.charges(pdg_id),
        pt=pt,
        eta=pseudorapidity(pt, pz),
        phi=np.arctan2(py, px),
        energy=energy,
        radius=np.hypot(x, y),
        d0=(x * py - y * px) / pt,
        dz=z - (x * px + y * py) / pt * (pz / pt),
        pile_up=np.zeros(len(pt), bool),
    )
