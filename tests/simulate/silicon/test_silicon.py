"""The fast simulation of a silicon tracker: particles cross modules where they should, and leave the charge that they should."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.events.detector import generic_detector
from tamis.simulate.seeds import Seeds
from tamis.simulate.silicon import Primaries, share_charge, transport
from tamis.simulate.silicon.helix import Helices, advance, curvature_of, to_cylinder
from tamis.simulate.silicon.transport import DetectorModel


@pytest.fixture(scope="module")
def model():
    return DetectorModel(generic_detector())


def muons(count, pt, seed=1, eta_max=2.4):
    random = np.random.default_rng(seed)
    phi, eta = random.uniform(-np.pi, np.pi, count), random.uniform(-eta_max, eta_max, count)
    momentum = pt * np.stack([np.cos(phi), np.sin(phi), np.sinh(eta)], axis=1)
    charge = np.where(random.random(count) < 0.5, 1, -1)
    return Primaries(-13 * charge, charge, np.zeros((count, 3)), momentum)


def test_a_helix_returns_after_a_turn_and_bends_by_its_charge():
    curvature = curvature_of(np.array([1, -1]), np.array([1.0, 1.0]), 2.0)
    assert curvature[0] == pytest.approx(-0.6e-3, rel=1e-3)
    helices = Helices(np.zeros((2, 3)), np.zeros(2), np.array([0.5, 0.5]), curvature)
    around = advance(helices, 2 * np.pi / np.abs(curvature))
    np.testing.assert_allclose(around.position[:, :2], 0, atol=1e-9)
    assert (
        advance(helices, np.full(2, 100.0)).position[0, 1]
        < 0
        < advance(helices, np.full(2, 100.0)).position[1, 1]
    )


def test_the_way_to_a_cylinder_ends_on_it():
    random = np.random.default_rng(2)
    helices = Helices(
        random.normal(size=(50, 3)),
        random.uniform(-3, 3, 50),
        random.normal(size=50),
        random.normal(size=50) * 1e-3,
    )
    radii = np.array([32.0, 260.0, 820.0])
    lengths = to_cylinder(helices, radii[None])
    for k, radius in enumerate(radii):
        rows = np.flatnonzero(np.isfinite(lengths[:, k]))
        assert len(rows) > 20
        there = advance(helices.take(rows), lengths[rows, k]).position
        np.testing.assert_allclose(np.hypot(there[:, 0], there[:, 1]), radius, rtol=1e-9)


def test_hits_lie_on_their_modules(model):
    hits = transport(muons(300, 5.0), model, Seeds(1, 0, 0))
    modules = model.detector.modules
    local = np.einsum("nij,nj->ni", modules.axes[hits.module], hits.position - modules.centre[hits.module])
    assert np.abs(local[:, 2]).max() < 1e-3
    assert (np.abs(local[:, 1]) <= modules.half_v[hits.module]).all()
    assert (np.abs(local[:, 0]) <= modules.half_u[hits.module].max(axis=1)).all()


def test_muons_leave_a_hit_on_every_layer_that_they_cross(model):
    """In the barrel there are ten layers; overlaps of modules add a few hits."""
    hits = transport(muons(400, 20.0, eta_max=0.8), model, Seeds(2, 0, 0))
    layers = np.stack(
        [hits.particle, model.detector.modules.volume[hits.module], model.detector.modules.layer[hits.module]]
    )
    crossed = np.bincount(np.unique(layers, axis=1)[0], minlength=400)
    assert (crossed == 10).mean() > 0.97
    assert 10 < len(hits) / 400 < 13


def test_radii_along_a_particle_rise(model):
    hits = transport(muons(100, 2.0), model, Seeds(3, 0, 0))
    away = np.linalg.norm(hits.position, axis=1)
    same = hits.particle[1:] == hits.particle[:-1]
    assert (np.diff(away)[same] > -15).all()  # modules of one layer overlap
    assert (hits.index[1:][same] == hits.index[:-1][same] + 1).all()


def test_scattering_and_loss_are_those_of_the_review(model):
    """After the four pixel layers a muon of 1 GeV is turned by Highland's angle, and has lost some megaelectronvolts."""
    count = 2000
    hits = transport(muons(count, 1.0, eta_max=0.3), model, Seeds(4, 0, 0))
    volume = model.detector.modules.volume[hits.module]
    last = np.flatnonzero((volume == 8) & np.append(volume[1:] != 8, True))
    momentum = np.linalg.norm(hits.momentum[last], axis=1)
    begin = np.linalg.norm(muons(count, 1.0, eta_max=0.3).momentum[hits.particle[last]], axis=1)
    lost = np.median(begin - momentum) * 1e3
    assert 1.0 < lost < 4.0


def test_cells_hold_the_charge_of_the_way_through_the_module(model):
    modules = model.detector.modules
    hits = transport(muons(200, 5.0), model, Seeds(5, 0, 0))
    cells = share_charge(hits, modules, Seeds(5, 0, 0))
    assert (cells.charge > 0).all()
    assert (
        (cells.u >= 0)
        & (cells.u < modules.cells[cells.module, 0])
        & (cells.v >= 0)
        & (cells.v < modules.cells[cells.module, 1])
    ).all()
    total = np.bincount(cells.hit, cells.charge, minlength=len(hits))
    direction = np.einsum("nij,nj->ni", modules.axes[hits.module], hits.momentum)
    way = modules.thickness[hits.module] * np.linalg.norm(direction, axis=1) / np.abs(direction[:, 2])
    inside = total > 0.9 * way  # others leave the module through its side
    assert inside.mean() > 0.95
    np.testing.assert_allclose(total[inside], way[inside], rtol=0.08)


def test_no_particles_leave_no_cells(model):
    nothing = Primaries(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 3)), np.zeros((0, 3)))
    hits = transport(nothing, model, Seeds(1, 0, 0))
    assert len(hits) == 0
    assert len(share_charge(hits, model.detector.modules, Seeds(1, 0, 0)).module) == 0


def test_neutral_particles_leave_nothing(model):
    neutral = Primaries(np.array([22]), np.array([0]), np.zeros((1, 3)), np.array([[10.0, 0, 0]]))
    assert len(transport(neutral, model, Seeds(1, 0, 0))) == 0
