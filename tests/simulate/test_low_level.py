"""Low-level information: deposits of all particles, displaced by the field and by the vertex."""

import awkward as ak
import numpy as np
import pytest

from tamis.events import Events
from tamis.simulate import SimulationSettings
from tamis.simulate.blocks import Task, make_block
from tamis.simulate.detector import Detector
from tamis.simulate.low_level import PIXEL_BARREL, low_level, pixel_hits
from tamis.simulate.particles import Particles
from tamis.simulate.seeds import Seeds

SEEDS = Seeds(1, 0, 0)
PREFIXES = ("EcalCell", "HcalTower", "Track", "PixelHit")


def beam(pdg_id: int, charge: int, pt: float, eta: float, n: int = 2000, d0: float = 0.0) -> Particles:
    """Return one particle per event, equal except for the position in the cell."""
    zero = np.zeros(n)
    etas = eta + np.random.default_rng(1).uniform(-0.05, 0.05, n)
    return Particles(
        event=np.arange(n),
        pdg_id=np.full(n, pdg_id),
        charge=np.full(n, charge),
        pt=zero + pt,
        eta=etas,
        phi=np.linspace(-3.1, 3.1, n),
        energy=pt * np.cosh(etas),
        radius=zero,
        d0=zero + d0,
        dz=zero,
        pile_up=zero > 0,
    )


def simulate_low_level(particles: Particles, vertex_z: float = 0.0):
    return low_level(particles, np.full(len(particles), vertex_z), Detector(), SEEDS)


def sums(cells, n: int = 2000) -> np.ndarray:
    return np.bincount(cells.event, cells.et, minlength=n)


def spread_in_phi(particles: Particles) -> float:
    """Return the median over events of the mean distance in phi of the energy from its centre."""
    cells, n = simulate_low_level(particles).crystals, len(particles)
    gap = (cells.phi - particles.phi[cells.event] + np.pi) % (2 * np.pi) - np.pi
    total = np.bincount(cells.event, cells.et, minlength=n)
    centre = np.bincount(cells.event, cells.et * gap, minlength=n) / total
    return float(np.median(np.bincount(cells.event, cells.et * np.abs(gap - centre[cells.event])) / total))


@pytest.mark.parametrize("kind", [(22, 0), (11, -1)])
def test_photons_and_electrons_deposit_their_energy_in_crystals(kind):
    found = simulate_low_level(beam(*kind, 50.0, 0.3))
    assert np.median(sums(found.crystals)) == pytest.approx(50.0, rel=0.05)
    assert sums(found.towers).sum() == 0
    hardest = np.maximum.reduceat(found.crystals.et, np.searchsorted(found.crystals.event, np.arange(2000)))
    assert 0.4 < np.median(hardest) / 50.0 < 0.75


def test_electrons_are_wider_in_phi_than_photons():
    assert spread_in_phi(beam(11, -1, 30.0, 0.3)) > 1.2 * spread_in_phi(beam(22, 0, 30.0, 0.3))


def test_a_tracked_hadron_deposits_energy_in_both_calorimeters():
    found = simulate_low_level(beam(211, 1, 50.0, 0.3))
    assert len(found.tracks) > 1800
    early, late = sums(found.crystals), sums(found.towers)
    assert np.mean(early + late) == pytest.approx(50.0, rel=0.08)
    assert np.mean(late) > 2 * np.mean(early)
    assert np.mean(early < 1.0) == pytest.approx(0.4, abs=0.05)


def test_the_field_bends_positive_particles_to_smaller_phi():
    pions = beam(211, 1, 2.0, 0.0)
    hits = pixel_hits(pions, np.zeros(2000), SEEDS)
    moved = (hits.phi - pions.phi[hits.event] + np.pi) % (2 * np.pi) - np.pi
    for number, layer in enumerate(PIXEL_BARREL, 1):
        bend = -0.3 * 3.8 * layer.radius_cm / 100 / (2 * 2.0)
        assert np.mean(moved[hits.layer == number]) == pytest.approx(bend, rel=0.03)
    other = pixel_hits(beam(-211, -1, 2.0, 0.0), np.zeros(2000), SEEDS)
    assert np.mean((other.phi - pions.phi[other.event] + np.pi) % (2 * np.pi) - np.pi) > 0


def test_a_displaced_particle_shifts_from_layer_to_layer():
    pions = beam(211, 1, 500.0, 0.0, d0=0.5)
    hits = pixel_hits(pions, np.zeros(2000), SEEDS)
    moved = (hits.phi - pions.phi[hits.event] + np.pi) % (2 * np.pi) - np.pi
    for number, layer in enumerate(PIXEL_BARREL, 1):
        assert np.mean(moved[hits.layer == number]) == pytest.approx(-0.5 / layer.radius_cm, rel=0.05)
    assert len(hits.eta) / (3 * 2000) == pytest.approx(0.99, abs=0.005)


def test_the_vertex_shifts_inner_hits_most():
    found = simulate_low_level(beam(211, 1, 20.0, 0.0), vertex_z=5.0)
    hits = found.hits
    assert np.median(hits.eta[hits.layer == 1]) == pytest.approx(np.arcsinh(5.0 / 2.9), abs=0.05)
    assert np.median(hits.eta[hits.layer == 3]) == pytest.approx(np.arcsinh(5.0 / 10.9), abs=0.05)
    assert np.median(found.towers.eta) == pytest.approx(np.arcsinh(5.0 / 190), abs=0.05)
    assert not len(
        simulate_low_level(beam(211, 1, 20.0, 2.4)).hits.eta[
            simulate_low_level(beam(211, 1, 20.0, 2.4)).hits.layer == 3
        ]
    )


def block(n: int, **options) -> Events:
    return make_block(Task("qcd", SimulationSettings(**options), seed=5, block=0, events=n))


def test_low_level_adds_columns_and_changes_none():
    plain, extended = block(20, mu=3), block(20, mu=3, low_level=True)
    added = [name for name in extended.array.fields if name not in plain]
    assert {name.split("_")[0] for name in added} == set(PREFIXES)
    for name in plain.array.fields:
        assert ak.to_list(plain[name]) == ak.to_list(extended[name]), name


def test_first_events_do_not_depend_on_the_number_of_events():
    shorter, longer = block(5, mu=3, low_level=True), block(9, mu=3, low_level=True)
    for name in shorter.array.fields:
        assert ak.to_list(shorter[name]) == ak.to_list(longer[name][:5]), name


def test_cells_are_on_their_grids_and_all_values_are_finite():
    events = block(20, mu=10, low_level=True)
    for name in (name for name in events.array.fields if name.split("_")[0] in PREFIXES):
        flat = ak.to_numpy(ak.flatten(events[name]))
        assert len(flat) > 20
        assert np.isfinite(flat).all()
        assert not name.endswith("phi") or np.abs(flat).max() <= np.pi + 1e-6
    for prefix, turns in (("EcalCell", 360), ("HcalTower", 72)):
        eta = ak.to_numpy(ak.flatten(events[f"{prefix}_eta"])).astype(float) * turns / (2 * np.pi)
        np.testing.assert_allclose(eta % 1.0, 0.5, atol=1e-4)
    tracked = ak.num(events["Track_pt"])
    candidates = ak.sum(events["PFCands_charge"] != 0, axis=1)
    assert ak.all(tracked > candidates)  # including those of pile-up


@pytest.mark.parametrize(("process", "kind"), [("photon-jet", 22), ("z-ee", 11), ("z-prime-tautau", 15)])
def test_processes_for_taggers_contain_their_particle(process, kind):
    gen = make_block(Task(process, SimulationSettings(), seed=1, block=0, events=15)).collection("GenPart")
    hard = (np.abs(gen.pdgId) == kind) & ((gen.statusFlags >> 7) % 2 == 1)
    assert np.all(ak.sum(hard, axis=1) == (1 if kind == 22 else 2))


def test_a_prompt_photon_is_in_the_generated_particles_and_in_the_crystals():
    events = make_block(Task("photon-jet", SimulationSettings(low_level=True), seed=1, block=0, events=30))
    gen = events.collection("GenPart")
    photons = gen[(gen.pdgId == 22) & (gen.status == 1) & (np.abs(gen.eta) < 2.5)]
    assert ak.sum(ak.num(photons)) > 15
    for event in np.flatnonzero(ak.num(photons)):
        d_phi = (events["EcalCell_phi"][event] - photons.phi[event][0] + np.pi) % (2 * np.pi) - np.pi
        near = events["EcalCell_et"][event][np.abs(d_phi) < 0.1]
        assert ak.sum(near) > 0.7 * photons.pt[event][0]
