"""Hits and cells by ACTS: Fatras moves the particles, and a geometric digitisation divides their charge into cells."""

from tamis.simulate.silicon.acts.fatras import simulate_with_acts
from tamis.simulate.silicon.acts.particles import write_particles

__all__ = ["simulate_with_acts", "write_particles"]
