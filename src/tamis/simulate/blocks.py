"""One block of events, from the seed to the columns: the work of a worker process."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.events import Events
from tamis.simulate.columns import SimulatedBlock, block_events
from tamis.simulate.detector import respond
from tamis.simulate.filters import make_passing
from tamis.simulate.flavour import JET_RADIUS, b_tag, jet_flavour
from tamis.simulate.generator import generator
from tamis.simulate.jets import anti_kt, four_momenta
from tamis.simulate.leptons import electrons, muons, neutral_density
from tamis.simulate.level1 import LevelOne, level_one
from tamis.simulate.low_level import LowLevel, calorimeter_cells, low_level
from tamis.simulate.particles import Particles, merge, visible
from tamis.simulate.pileup import pile_up
from tamis.simulate.processes import find_process
from tamis.simulate.seeds import Seeds
from tamis.simulate.settings import SimulationSettings, generator_lines
from tamis.simulate.substructure import soft_drop, subjettiness
from tamis.simulate.truth import gen_particles, label_jets

BLOCK_EVENTS = 250  # events depend on it as they do on the seed
RUN_NUMBERS = 2**32  # NanoAOD stores run numbers in 32 bits
FAT_JET_RADIUS = 0.8
N_SUBJETTINESS_MAX = 3
VISIBLE_PT_MIN_GEV = 0.1  # softer particles are not simulated


@dataclass(frozen=True)
class Task:
    """The parameters of one block."""

    process: str
    settings: SimulationSettings
    seed: int
    block: int
    events: int


def make_block(task: Task) -> Events:
    """Generate events, simulate the detector, cluster jets, and return the columns."""
    settings, n = task.settings, task.events
    process = find_process(task.process)
    number = process.number
    seeds = Seeds(task.seed, number, task.block)
    make = generator(generator_lines(task.process, settings))
    if process.selection:
        record, fraction = make_passing(make, n, process.selection, seeds)
    else:
        record, fraction = make(n, seeds.pythia("event")), 1.0
    vertex_z = seeds.stream("vertex").normal(0.0, settings.detector.beam_spot_cm, n)
    over = pile_up(n, vertex_z, settings, seeds)
    particles = visible(record, make, settings.detector.eta_max, VISIBLE_PT_MIN_GEV)
    if over.particles is not None:
        particles = merge(particles, over.particles)
    candidates = respond(particles, settings.detector, seeds)
    momenta = four_momenta(candidates)
    fat_jets = anti_kt(candidates, momenta, n, FAT_JET_RADIUS, settings.fat_jet_pt_min_gev)
    jets = anti_kt(candidates, momenta, n, JET_RADIUS, settings.jet_pt_min_gev)
    flavour = jet_flavour(record, jets)
    gen, density = gen_particles(record), neutral_density(candidates, n)
    low = low_level(particles, vertex_z, settings.detector, seeds) if settings.low_level else None
    fakes = process.fake_electron_rate or settings.detector.fake_electron_rate
    return block_events(
        SimulatedBlock(
            run=task.seed % RUN_NUMBERS,
            number=task.block,
            first_event=task.block * BLOCK_EVENTS + 1,
            process=number,
            mu=settings.mu,
            cross_section_pb=fraction * make.cross_section_pb,
            record=record,
            vertex_z=vertex_z,
            pile_up=over,
            candidates=candidates,
            fat_jets=fat_jets,
            fat_jet_label=label_jets(record, fat_jets, FAT_JET_RADIUS),
            fat_jet_soft_drop=soft_drop(fat_jets, momenta).mass,
            fat_jet_tau=subjettiness(fat_jets, momenta, N_SUBJETTINESS_MAX, FAT_JET_RADIUS),
            jets=jets,
            jet_flavour=flavour,
            jet_b_tag=b_tag(jets, flavour, seeds),
            muons=muons(candidates, density, gen, record),
            electrons=electrons(candidates, density, gen, record, seeds, fakes),
            gen=gen,
            low_level=low,
            level1=_level1(particles, vertex_z, low, settings, seeds) if settings.level1 else None,
        )
    )


def _level1(
    particles: Particles,
    vertex_z: np.ndarray,
    low: LowLevel | None,
    settings: SimulationSettings,
    seeds: Seeds,
) -> LevelOne:
    """Return what the Level-1 trigger finds in the cells that `low_level` has, or would have."""
    if low is None:
        z0 = vertex_z[particles.event] + particles.dz
        cells = calorimeter_cells(particles, z0, settings.detector, seeds)
    else:
        cells = low.crystals, low.towers
    return level_one(*cells, particles, len(vertex_z), seeds)
