"""The response to known particles."""

import numpy as np
import pytest

from tamis.simulate.detector import Detector, respond
from tamis.simulate.particles import Particles
from tamis.simulate.seeds import Seeds

SEEDS = Seeds(1, 0, 0)


def beam(pdg_id: int, charge: int, pt: float, eta: float, n: int = 4000, **more) -> Particles:
    """Return one particle per event, equal except for the position in the cell."""
    zero = np.zeros(n)
    etas = eta + np.random.default_rng(1).uniform(-0.2, 0.2, n)
    values = {"radius": zero, "d0": zero, "dz": zero, "pile_up": zero > 0} | more
    return Particles(
        event=np.arange(n),
        pdg_id=np.full(n, pdg_id),
        charge=np.full(n, charge),
        pt=zero + pt,
        eta=etas,
        phi=np.linspace(-3.1, 3.1, n),
        energy=pt * np.cosh(etas),
        **values,
    )


def test_pions_are_tracked_with_the_specified_efficiency_and_resolution():
    found = respond(beam(211, 1, 20.0, 0.5), Detector(), SEEDS)
    tracks = found.take(found.charge != 0)
    region = Detector().tracker.regions[0]
    assert len(tracks) / 4000 == pytest.approx(region.efficiency_hard, abs=0.015)
    assert np.std(tracks.pt / 20) == pytest.approx(
        np.hypot(region.constant, region.slope_per_gev * 20), rel=0.1
    )
    assert np.all(tracks.pdg_id == 211)


def test_a_pion_without_a_track_gives_a_tower():
    found = respond(beam(211, 1, 50.0, 0.5), Detector(), SEEDS)
    assert set(found.pdg_id) == {211, 130}
    assert len(found) == pytest.approx(4000, abs=10)


@pytest.mark.parametrize(("eta", "kind"), [(0.3, 22), (2.0, 22), (4.0, 2)])
def test_photons_keep_their_energy(eta, kind):
    found = respond(beam(22, 0, 50.0, eta), Detector(), SEEDS)
    assert set(found.pdg_id) == {kind}
    assert np.mean(found.pt) == pytest.approx(50, rel=0.02)


@pytest.mark.parametrize(("eta", "kind"), [(0.3, 130), (2.0, 130), (4.0, 1)])
def test_neutral_hadrons_are_measured_worse_than_photons(eta, kind):
    hadrons = respond(beam(130, 0, 50.0, eta), Detector(), SEEDS)
    assert set(hadrons.pdg_id) == {kind}
    assert np.mean(hadrons.pt) == pytest.approx(50, rel=0.03)
    if eta < 3:
        assert np.std(hadrons.pt) > 3 * np.std(respond(beam(22, 0, 50.0, eta), Detector(), SEEDS).pt)


def test_nothing_is_reconstructed_below_threshold():
    assert len(respond(beam(22, 0, 0.1, 0.3), Detector(), SEEDS)) == 0
    assert len(respond(beam(211, 1, 0.4, 0.3), Detector(), SEEDS)) == 0


def test_photons_in_one_cell_are_one_candidate():
    pair = beam(22, 0, 10.0, 0.3, n=2)
    together = Particles(
        **{**pair.__dict__, "event": np.zeros(2, int), "eta": np.full(2, 0.005), "phi": np.full(2, 0.005)}
    )
    apart = Particles(**{**together.__dict__, "phi": np.array([0.005, 0.505])})
    assert len(respond(together, Detector(), SEEDS)) == 1
    assert len(respond(apart, Detector(), SEEDS)) == 2


def test_tracks_of_other_vertices_are_removed_and_displaced_ones_kept():
    displacement = np.full(4000, 2.0)
    foreign = beam(211, 1, 20.0, 0.5, dz=displacement, pile_up=displacement > 0)
    assert not np.any(respond(foreign, Detector(), SEEDS).charge)
    displaced = beam(211, 1, 20.0, 0.5, dz=displacement)
    assert np.any(respond(displaced, Detector(), SEEDS).charge)


def test_muons_give_no_tower():
    found = respond(beam(13, -1, 50.0, 0.5), Detector(), SEEDS)
    assert set(found.pdg_id) == {13}
