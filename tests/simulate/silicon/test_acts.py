"""Events by ACTS: the particles are those of the fast simulation, and hits and cells are like its own."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from tamis._base import MissingExtraError, UsageError
from tamis.simulate.silicon import TrackSample, simulate_tracks
from tamis.simulate.silicon.acts import simulate_with_acts

SAMPLE = TrackSample("muon", pt=(1.0, 20.0))


@pytest.fixture(scope="module")
def by_acts():
    pytest.importorskip("acts.examples", reason="pyacts is not installed")
    return list(simulate_with_acts(SAMPLE, 22, seed=3))


def column(batches, name):
    return ak.concatenate([batch[name] for batch in batches])


def test_particles_and_events_are_those_of_the_fast_simulation(by_acts):
    own = list(simulate_tracks(SAMPLE, 22, seed=3))
    assert [len(batch) for batch in by_acts] == [20, 2]
    for name in ("run", "luminosityBlock", "event", "Pileup_nPU"):
        assert column(by_acts, name).to_list() == column(own, name).to_list()
    for k in range(22):
        mine, theirs = (
            np.sort(np.hypot(column(one, "Particle_px")[k], column(one, "Particle_py")[k]).to_numpy())
            for one in (own, by_acts)
        )
        np.testing.assert_allclose(theirs[np.searchsorted(theirs, mine * 0.9999)], mine, rtol=1e-3)


def test_hits_are_of_particles_and_cells_of_hits(by_acts):
    own = list(simulate_tracks(SAMPLE, 22, seed=3))
    hits, cells = (ak.count(column(by_acts, name)) for name in ("Hit_x", "Cell_u"))
    assert hits == pytest.approx(ak.count(column(own, "Hit_x")), rel=0.1)
    assert cells == pytest.approx(ak.count(column(own, "Cell_u")), rel=0.3)
    for batch in by_acts:
        assert ak.all(batch["Cell_hit"] >= 0)
        assert ak.all(batch["Cell_hit"] < ak.num(batch["Hit_x"]))
        assert ak.all(batch["Cell_module"] == batch["Hit_module"][batch["Cell_hit"]])
        of_hit = batch["Hit_particle"]
        assert ak.mean(of_hit >= 0) > 0.99
        assert ak.all(of_hit < ak.num(batch["Particle_pdgId"]))


def test_the_seed_determines_the_events(by_acts):
    again = list(simulate_with_acts(SAMPLE, 2, seed=3, workers=2))
    for name in ("Cell_module", "Cell_u", "Cell_charge", "Hit_x"):
        assert column(again, name).to_list() == column(by_acts, name)[:2].to_list()
    other = list(simulate_with_acts(SAMPLE, 2, seed=4))
    assert column(other, "Cell_module").to_list() != column(again, "Cell_module").to_list()


def test_tracks_of_its_events_are_found(by_acts):
    pytest.importorskip("numba", reason="numba is not installed")
    from tamis.events.detector import generic_detector, sort_cells
    from tamis.tracking import Reconstruction
    from tamis.tracking.reading import cell_columns

    detector = generic_detector()
    reconstruct = Reconstruction(detector)
    found = sum(
        len(reconstruct(sort_cells(*cell_columns(batch, k).values(), detector.modules)))
        for batch in by_acts
        for k in range(len(batch))
    )
    assert 205 <= found <= 221


def test_a_python_without_acts_is_named(tmp_path):
    with pytest.raises(UsageError, match="/nowhere/python cannot be run: No such file"):
        simulate_with_acts(SAMPLE, 1, python="/nowhere/python")
    false = tmp_path / "python"
    false.write_text("#!/bin/sh\necho 'No module named acts' >&2\nexit 1\n")
    false.chmod(0o755)
    with pytest.raises(
        UsageError, match=r"cannot import acts.examples \(No module named acts\): install pyacts"
    ):
        simulate_with_acts(SAMPLE, 1, python=str(false))


def test_without_acts_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(MissingExtraError, match=r"pip install 'tamis\[acts\]'"):
        simulate_with_acts(SAMPLE, 1)
