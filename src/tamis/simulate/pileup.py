"""Pile-up: further collisions in the same bunch crossing, overlaid on the simulated one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.events.kinematics import expand_ranges, wrap_phi
from tamis.simulate.generator import generator
from tamis.simulate.particles import Particles, visible
from tamis.simulate.seeds import Seeds
from tamis.simulate.settings import SimulationSettings, pile_up_lines

POOL_COLLISIONS = 500  # generated per block; events draw from them, rotated by a random angle about the beam
VERTEX_TRACKS_MIN = 2  # charged particles above the tracker's threshold of a visible vertex


@dataclass(frozen=True)
class PileUp:
    """The particles of all pile-up collisions of a block, and the numbers of collisions."""

    particles: Particles | None
    collisions: np.ndarray  # per event
    vertices: np.ndarray  # per event: collisions with enough tracks to be reconstructed
    pt_hat_max_gev: np.ndarray  # per event: of the hardest collision


def pile_up(events: int, vertex_z: np.ndarray, settings: SimulationSettings, seeds: Seeds) -> PileUp:
    """Draw a Poisson number of non-diffractive collisions for each event.

    Collisions are drawn with replacement from a pool of 500, which is generated for every block of events, and rotated by a
    random angle each; their vertices have the same distribution along the beam as that of the event.
    """
    if settings.mu == 0:
        none = np.zeros(events, np.int32)
        return PileUp(None, none, none, np.zeros(events))
    make = generator(pile_up_lines(settings))
    record = make(POOL_COLLISIONS, seeds.pythia("pile-up"))
    tracker = settings.detector.tracker
    pool = visible(record, make, settings.detector.eta_max, pt_min_gev=0.1)
    begins = np.searchsorted(pool.event, np.arange(POOL_COLLISIONS + 1))
    counts = seeds.stream("pile-up number").poisson(settings.mu, events)
    event = np.repeat(np.arange(events), counts)
    chosen = seeds.stream("pile-up choice").integers(0, POOL_COLLISIONS, len(event))
    angle = seeds.stream("pile-up angle").uniform(-np.pi, np.pi, len(event))
    z = seeds.stream("pile-up vertex").normal(0.0, settings.detector.beam_spot_cm, len(event))
    z -= vertex_z[event]
    pt_hat_max_gev = np.zeros(events)
    np.maximum.at(pt_hat_max_gev, event, record.pt_hat_gev[chosen])
    sizes = np.diff(begins)[chosen]
    owner, rows = expand_ranges(begins[chosen], sizes)
    overlaid = pool.take(rows)
    visible_track = (
        (pool.charge != 0) & (pool.pt > tracker.pt_min_gev) & (np.abs(pool.eta) < tracker.regions[-1].eta_max)
    )
    tracks = np.bincount(pool.event[visible_track], minlength=POOL_COLLISIONS)
    visible_vertex = tracks[chosen] >= VERTEX_TRACKS_MIN
    return PileUp(
        particles=_moved(overlaid, event[owner], angle[owner], z[owner]),
        collisions=counts.astype(np.int32),
        vertices=np.bincount(event[visible_vertex], minlength=events).astype(np.int32),
        pt_hat_max_gev=pt_hat_max_gev,
    )


def _moved(particles: Particles, event: np.ndarray, angle: np.ndarray, z: np.ndarray) -> Particles:
    return Particles(
        event=event,
        pdg_id=particles.pdg_id,
        charge=particles.charge,
        pt=particles.pt,
        eta=particles.eta,
        phi=wrap_phi(particles.phi + angle),
        energy=particles.energy,
        radius=particles.radius,
        d0=particles.d0,
        dz=particles.dz + z,
        pile_up=np.ones(len(particles), bool),
    )
