"""Charged particles at their production: from generated collisions with pile-up, or from a gun."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from tamis._base import UsageError
from tamis.events.kinematics import expand_ranges
from tamis.simulate.generator import Generator, GeneratorRecord, generator
from tamis.simulate.seeds import Seeds
from tamis.simulate.settings import SimulationSettings, generator_lines, pile_up_lines
from tamis.simulate.silicon.transport import Primaries

GUNS = MappingProxyType({"muon": 13, "pion": 211, "electron": 11})
BEAM_SPOT_MM = (0.0125, 0.0125, 55.5)
PT_MIN_GEV, ETA_MAX = 0.15, 4.0
INNER_MM = (24.0, 1000.0)  # radius and |z| before which a particle is produced: the beam pipe
POOL_COLLISIONS = (
    500  # generated for each block; events draw from them, rotated by a random angle about the beam
)


@dataclass(frozen=True)
class TrackSample:
    """What to simulate: a process of the generator or a gun."""

    process: str
    mu: float = 0.0
    particles: int = 10  # of a gun, in each event
    pt: tuple[float, float] = (0.5, 100.0)  # of a gun, uniform in the logarithm
    eta_max: float = 2.5  # of a gun
    field_map: Path | None = None  # the constant field of the detector

    def __post_init__(self) -> None:
        """Check the values before anything is generated."""
        if self.process not in GUNS:
            generator_lines(self.process, self.settings)
            return
        if self.mu:
            raise UsageError(
                f"a gun of {self.process}s has no pile-up: leave out --mu, or name a process such as ttbar"
            )
        if not 0 < self.pt[0] <= self.pt[1]:
            raise UsageError(
                f"the transverse momenta {self.pt[0]:g}:{self.pt[1]:g} are not two positive numbers in order"
            )
        if not 1 <= self.particles <= 100_000:
            raise UsageError(f"the number of particles is {self.particles}; it must be 1 to 100000")

    @property
    def settings(self) -> SimulationSettings:
        """Options of the generator."""
        return SimulationSettings(mu=self.mu)


def make_primaries(
    sample: TrackSample, events: int, seeds: Seeds
) -> tuple[Primaries, np.ndarray, np.ndarray]:
    """Return the particles of some events in order, the event of each, and its collision: 0 is the first, others are pile-up."""
    if sample.process in GUNS:
        return _fired(sample, events, seeds)
    make = generator(generator_lines(sample.process, sample.settings))
    record = make(events, seeds.pythia("event"))
    spot = seeds.stream("beam spot").normal(size=(events, 3)) * BEAM_SPOT_MM
    hard, event = _charged(record, make)
    parts = [
        (
            Primaries(hard.pdg_id, hard.charge, hard.vertex + spot[event], hard.momentum),
            event,
            np.zeros(len(event), np.int32),
        )
    ]
    if sample.mu:
        parts.append(_pile_up(sample, events, seeds))
    order = np.argsort(np.concatenate([part[1] for part in parts]), kind="stable")
    joined = [
        np.concatenate([getattr(part[0], name) for part in parts])[order]
        for name in ("pdg_id", "charge", "vertex", "momentum")
    ]
    return (
        Primaries(*joined),
        np.concatenate([part[1] for part in parts])[order],
        np.concatenate([part[2] for part in parts])[order],
    )


def pile_up_collisions(sample: TrackSample, events: int, seeds: Seeds) -> np.ndarray:
    """Return the number of pile-up collisions of each event."""
    return seeds.stream("pile-up number").poisson(sample.mu, events)


def _fired(sample: TrackSample, events: int, seeds: Seeds) -> tuple[Primaries, np.ndarray, np.ndarray]:
    random = seeds.stream("gun")
    shape = events, sample.particles
    charge = np.where(random.random(shape) < 0.5, 1, -1).ravel()
    pt = np.exp(random.uniform(np.log(sample.pt[0]), np.log(sample.pt[1]), shape)).ravel()
    eta = random.uniform(-sample.eta_max, sample.eta_max, shape).ravel()
    phi = random.uniform(-np.pi, np.pi, shape).ravel()
    spot = np.repeat(random.normal(size=(events, 3)) * BEAM_SPOT_MM, sample.particles, axis=0)
    number = GUNS[sample.process]
    sign = charge if number > 100 else -charge  # leptons of positive number are negative
    momentum = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=1)
    event = np.repeat(np.arange(events), sample.particles)
    return (
        Primaries((number * sign).astype(np.int32), charge.astype(np.int32), spot, momentum),
        event,
        np.zeros(len(event), np.int32),
    )


def _pile_up(sample: TrackSample, events: int, seeds: Seeds) -> tuple[Primaries, np.ndarray, np.ndarray]:
    make = generator(pile_up_lines(sample.settings))
    pool, collision = _charged(make(POOL_COLLISIONS, seeds.pythia("pile-up")), make)
    begins = np.searchsorted(collision, np.arange(POOL_COLLISIONS + 1))
    counts = pile_up_collisions(sample, events, seeds)
    event = np.repeat(np.arange(events), counts)
    number = np.arange(len(event)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    chosen = seeds.stream("pile-up choice").integers(0, POOL_COLLISIONS, len(event))
    angle = seeds.stream("pile-up angle").uniform(-np.pi, np.pi, len(event))
    spot = seeds.stream("pile-up vertex").normal(size=(len(event), 3)) * BEAM_SPOT_MM
    owner, rows = expand_ranges(begins[chosen], np.diff(begins)[chosen])
    cosine, sine = np.cos(angle[owner]), np.sin(angle[owner])

    def turned(vectors: np.ndarray) -> np.ndarray:
        x, y, z = vectors[rows].T
        return np.stack([cosine * x - sine * y, sine * x + cosine * y, z], axis=1)

    particles = Primaries(
        pool.pdg_id[rows], pool.charge[rows], turned(pool.vertex) + spot[owner], turned(pool.momentum)
    )
    return particles, event[owner], number[owner].astype(np.int32)


def _charged(record: GeneratorRecord, make: Generator) -> tuple[Primaries, np.ndarray]:
    """Return the stable charged particles from within the beam pipe, and their collisions."""
    px, py, pz, _ = record.momentum
    pt = np.hypot(px, py)
    radius, z = np.hypot(*record.vertex[:2]), np.abs(record.vertex[2])
    kept = (record.status > 0) & (pt > PT_MIN_GEV) & (np.abs(pz) < np.sinh(ETA_MAX) * pt)
    kept &= (radius < INNER_MM[0]) & (z < INNER_MM[1])
    charge = make.charges(record.pdg_id)
    rows = np.flatnonzero(kept & (charge != 0))
    particles = Primaries(
        record.pdg_id[rows], charge[rows], record.vertex[:, rows].T, record.momentum[:3, rows].T
    )
    return particles, record.collision[rows]
