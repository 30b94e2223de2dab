"""Particles as CSV files of ACTS."""

from __future__ import annotations

import csv
from pathlib import Path
from types import MappingProxyType

import numpy as np

from tamis.events.detector.acts_events import ACTS_PARTICLE
from tamis.simulate.silicon.transport import Primaries

MASSES_GEV = MappingProxyType({11: 0.000511, 13: 0.10566, 211: 0.13957, 321: 0.49368, 2212: 0.93827})
PION = 211  # whose mass other particles get


def write_particles(particles: Primaries, collision: np.ndarray, path: Path) -> None:
    """Write the particles of one event; the primary vertex of each is the number of its collision, from 1 on."""
    order = np.argsort(collision, kind="stable")
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            [*ACTS_PARTICLE, "particle_type", "process", "vx", "vy", "vz", "vt", "px", "py", "pz", "m", "q"]
        )
        within = 0
        for place, k in enumerate(order):
            within = within + 1 if place and collision[k] == collision[order[place - 1]] else 1
            kind = int(particles.pdg_id[k])
            mass = MASSES_GEV.get(abs(kind), MASSES_GEV[PION])
            writer.writerow(
                [collision[k] + 1, 0, within, 0, 0, kind, 0, *particles.vertex[k], 0.0, *particles.momentum[k], mass, particles.charge[k]]
            )  # fmt: skip
