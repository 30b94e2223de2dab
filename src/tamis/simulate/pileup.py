"""Pile-up: other collisions of the same bunch crossing, laid over the one that is simulated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.events.kinematics import expand_ranges, wrap_phi
from tamis.simulate.generator import generator
from tamis.simulate.particles import Particles, visible
from tamis.simulate.seeds import Seeds
from tamis.simulate.settings import Settings, pile_up_lines

POOL = 500  # collisions made per block; an event draws from them, turned by a random angle about the beam
VERTEX_TRACKS_MIN = 2  # charged particles above the tracker's threshold that make a vertex visible


@dataclass(frozen=True)
class PileUp:
    """The particles of all pile-up collisions of a block, and how many collisions there are."""

    particles: Particles | None
    collisions: np.ndarray  # per event
    vertices: np.ndarray  # per event: those that leave enough tracks to be seen


def pile_up(events: int, vertex_z: np.ndarray, settings: Settings, seeds: Seeds) -> PileUp:
    """Draw a Poisson number of non-diffractive collisions for each event.

    Collisions come, with replacement, from a pool of 500 that is made for every block of events, each turned by
    a random angle; their vertices are spread along the beam like that of the event itself.
    """
    if settings.mu == 0:
        none = np.zeros(events, np.int32)
        return PileUp(None, none, none)
    make = generator(pile_up_lines(settings))
    record = make(POOL, seeds.pythia("pile-up"))
    tracker = settings.detector.tracker
    pool = visible(record, make, settings.detector.eta_max, pt_min_gev=0.1)
    begins = np.searchsorted(pool.event, np.arange(POOL + 1))
    counts = seeds.stream("pile-up number").poisson(settings.mu, events)
    event = np.repeat(np.arange(events), counts)
    chosen = seeds.stream("pile-up choice").integers(0, POOL, len(event))
    angle = seeds.stream("pile-up angle").uniform(-np.pi, np.pi, len(event))
    z = seeds.stream("pile-up vertex").normal(0.0, settings.detector.beam_spot_cm, len(event))
    z -= vertex_z[event]
    sizes = np.diff(begins)[chosen]
    owner, rows = expand_ranges(begins[chosen], sizes)
    laid = pool.take(rows)
    seen = (
        (pool.charge != 0) & (pool.pt > tracker.pt_min_gev) & (np.abs(pool.eta) < tracker.regions[-1].eta_max)
    )
    tracks = np.bincount(pool.event[seen], minlength=POOL)
    visible_vertex = tracks[chosen] >= VERTEX_TRACKS_MIN
    return PileUp(
        particles=_moved(laid, event[owner], angle[owner], z[owner]),
        collisions=counts.astype(np.int32),
        vertices=np.bincount(event[visible_vertex], minlength=events).astype(np.int32),
    )


def _moved(laid: Particles, event: np.ndarray, angle: np.ndarray, z: np.ndarray) -> Particles:
    return Particles(
        event=event,
        pdg_id=laid.pdg_id,
        charge=laid.charge,
        pt=laid.pt,
        eta=laid.eta,
        phi=wrap_phi(laid.phi + angle),
        energy=laid.energy,
        radius=laid.radius,
        d0=laid.d0,
        dz=laid.dz + z,
        pile_up=np.ones(len(laid), bool),
    )
