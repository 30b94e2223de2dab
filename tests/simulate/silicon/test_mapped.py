"""Particles in a mapped field: against the force on a charge, integrated by SciPy, and against a constant field."""

from __future__ import annotations

import numpy as np
import pytest
from tests.simulate.silicon.test_silicon import muons

from tamis.events.detector import FieldMap, constant_map, generic_detector, solenoid_field
from tamis.simulate.seeds import Seeds
from tamis.simulate.silicon import transport
from tamis.simulate.silicon.helix import GEV_PER_TESLA_MM, Helices, curvature_of
from tamis.simulate.silicon.mapped import advance_in_map, bent_locally
from tamis.simulate.silicon.transport import DetectorModel


def solenoid(half_length=2660.0, field=2.0):
    r, z = np.linspace(0, 1100, 45), np.linspace(-3100, 3100, 249)
    return FieldMap(
        "solenoid", solenoid_field(r[:, None], z[None], 1200, half_length, field), -3100, (25, 25)
    )


def fired(count, seed):
    random = np.random.default_rng(seed)
    phi, eta = random.uniform(-np.pi, np.pi, count), random.uniform(-2.5, 2.5, count)
    pt, charge = np.exp(random.uniform(np.log(0.5), np.log(5), count)), random.choice([-1, 1], count)
    vertex = random.normal(size=(count, 3)) * [1, 1, 60]
    return vertex, phi, eta, pt, charge


@pytest.mark.parametrize("field", [2.0, -3.8])
def test_particles_follow_the_force_on_a_charge(field):
    integrate = pytest.importorskip("scipy.integrate", reason="scipy is not installed")
    field_map = solenoid(field=field)
    vertex, phi, eta, pt, charge = fired(12, 1)
    length = np.minimum(800.0, 2800 / np.abs(np.sinh(eta)))
    helices = Helices(vertex, phi, np.sinh(eta), curvature_of(charge, pt, field_map.nominal))
    found = advance_in_map(helices, length, field_map)
    for k in range(len(pt)):

        def force(_, state, q=charge[k]):
            position, momentum = state[:3], state[3:]
            r = max(np.hypot(*position[:2]), 1e-9)
            br, bz = (float(one[0]) for one in field_map(np.array([r]), position[2:]))
            b = np.array([br * position[0] / r, br * position[1] / r, bz])
            rates = np.concatenate([momentum, q * GEV_PER_TESLA_MM * np.cross(momentum, b)])
            return rates / np.hypot(*momentum[:2])

        start = [*vertex[k], pt[k] * np.cos(phi[k]), pt[k] * np.sin(phi[k]), pt[k] * np.sinh(eta[k])]
        end = integrate.solve_ivp(force, (0, length[k]), start, rtol=1e-9, atol=1e-9, max_step=10).y[:, -1]
        np.testing.assert_allclose(found.position[k], end[:3], atol=2e-3)
        assert found.slope[k] == pytest.approx(end[5] / np.hypot(*end[3:5]), rel=1e-5)
        turned = np.array([np.cos(found.phi[k]), np.sin(found.phi[k])])
        np.testing.assert_allclose(turned, end[3:5] / np.hypot(*end[3:5]), atol=2e-5)
        momentum = GEV_PER_TESLA_MM * field_map.nominal / abs(found.curvature[k])
        assert momentum == pytest.approx(np.hypot(*end[3:5]), rel=1e-5)


def test_a_map_of_a_constant_field_changes_nothing():
    detector = generic_detector()
    particles = muons(200, 1.0)
    one, other = (
        transport(particles, DetectorModel(each), Seeds(1, 0, 0))
        for each in (detector, detector.in_field(constant_map(2.0)))
    )
    np.testing.assert_array_equal(one.module, other.module)
    np.testing.assert_allclose(one.position, other.position, atol=1e-4)
    np.testing.assert_allclose(one.momentum, other.momentum, rtol=1e-6, atol=1e-9)


def test_muons_leave_as_many_hits_in_a_field_that_falls():
    """The order of surfaces is that of the way through the map: none is passed over."""
    detector = generic_detector()
    mapped = DetectorModel(detector.in_field(solenoid()))
    counts = [
        len(transport(muons(600, 0.5), model, Seeds(1, 0, 0))) for model in (DetectorModel(detector), mapped)
    ]
    assert counts[1] == pytest.approx(counts[0], rel=0.02)
    local = bent_locally(
        Helices(np.array([[0.0, 500.0, 3000.0]]), np.ones(1), np.ones(1), np.ones(1)),
        mapped.detector.field_map,
    )
    assert 0.2 < local.curvature[0] < 0.7
