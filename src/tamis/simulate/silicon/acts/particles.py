"""Particles as CSV files of ACTS."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from tamis.events.detector.acts_events import ACTS_PARTICLE
from tamis.simulate.silicon.material import masses_of
from tamis.simulate.silicon.transport import Primaries


def write_particles(particles: Primaries, collision: np.ndarray, path: Path) -> None:
    """Write the particles of one event; the primary vertex of each is the number of its collision, from 1 on."""
    mass = masses_of(particles.pdg_id)
    order = np.argsort(collision, kind="stable")
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            [*ACTS_PARTICLE, "particle_type", "process", "vx", "vy", "vz", "vt", "px", "py", "pz", "m", "q"]
        )
        within = 0
        for place, k in enumerate(order):
            within = within + 1 if place and collision[k] == collision[order[place - 1]] else 1
            writer.writerow(
                [collision[k] + 1, 0, within, 0, 0, particles.pdg_id[k], 0, *particles.vertex[k], 0.0, *particles.momentum[k], mass[k], particles.charge[k]]
            )  # fmt: skip
