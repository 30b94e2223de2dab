"""Helix kernels: against small steps, finite differences and geometry."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.tracking.kernels import fitting, helix


def states(count=20, seed=1):
    random = np.random.default_rng(seed)
    for _ in range(count):
        phi = random.uniform(-np.pi, np.pi)
        yield np.array(
            [
                *random.normal(size=2) * 20,
                random.normal() * 50,
                np.cos(phi),
                np.sin(phi),
                random.normal() * 2,
                random.normal() * 6e-4,
            ]
        )


def small_steps(p, length, count=20_000):
    x, y, z, c, s, slope, w = p
    phi, ds = np.arctan2(s, c), length / count
    turned = phi + w * ds * (np.arange(count) + 0.5)
    return np.array(
        [x + ds * np.cos(turned).sum(), y + ds * np.sin(turned).sum(), z + slope * length, phi + w * length]
    )


@pytest.mark.parametrize("length", [0.0, 1e-3, 40.0, 400.0, -150.0])
def test_a_step_follows_the_helix(length):
    for p in states():
        expected = small_steps(p, length)
        helix.advance(p, np.zeros((6, 6)), length, np.empty((6, 6)))
        np.testing.assert_allclose(p[:3], expected[:3], atol=1e-6)
        np.testing.assert_allclose(p[3:5], [np.cos(expected[3]), np.sin(expected[3])], atol=1e-9)


def parameters(p):
    return np.array([*p[:3], np.arctan2(p[4], p[3]), p[5], p[6]])


def state(values):
    return np.array([*values[:3], np.cos(values[3]), np.sin(values[3]), *values[4:]])


def test_the_covariance_moves_with_the_state():
    for p in states(5):
        length, values = 130.0, parameters(p)
        steps = np.array([1e-3, 1e-3, 1e-3, 1e-5, 1e-5, 1e-8])
        jacobian = np.empty((6, 6))
        for j in range(6):
            ends = []
            for side in (-1, 1):
                moved = state(values + side * steps * (np.arange(6) == j))
                helix.advance(moved, np.zeros((6, 6)), length, np.empty((6, 6)))
                ends.append(parameters(moved))
            jacobian[:, j] = (ends[1] - ends[0]) / (2 * steps[j])
        spread = np.random.default_rng(3).normal(size=(6, 6)) * steps[:, None] * 100
        covariance = spread @ spread.T
        expected = jacobian @ covariance @ jacobian.T
        helix.advance(p, covariance, length, np.empty((6, 6)))
        np.testing.assert_allclose(covariance, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


def test_the_way_to_a_cylinder_ends_on_it():
    reached = 0
    for p in states():
        for radius in (32.0, 260.0, 820.0, 5000.0):
            s = helix.to_cylinder(p, radius)
            if s < 0:
                continue
            reached += 1
            q = p.copy()
            helix.advance(q, np.zeros((6, 6)), s, np.empty((6, 6)))
            assert np.hypot(q[0], q[1]) == pytest.approx(radius, abs=2e-3)
    assert reached > 20


def test_three_points_of_a_helix_give_its_parameters():
    for p in states():
        points = [small_steps(p, length, 4000)[:3] for length in (0.0, 40.0, 100.0)]
        found = np.empty(7)
        helix.start_from_points(found, *points)
        np.testing.assert_allclose(found[:3], p[:3], atol=1e-6)
        np.testing.assert_allclose(found[3:], p[3:], atol=1e-4, rtol=1e-3)


def test_a_measurement_pulls_the_state_as_a_least_squares_fit_does():
    p = next(states(1))
    spread = np.diag([0.1, 0.1, 0.3, 1e-3, 1e-3, 1e-6])
    c = spread @ spread
    frame = np.array([0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    position, variance = p[:3] + np.array([0.0, 0.05, -0.1]), np.array([1e-4, 4e-4])
    out, gain = np.empty(13), np.empty((4, 6))
    helix.project(p, p[6], position, frame, out)
    rows = np.zeros((2, 6))
    rows[0, :3], rows[1, :3] = out[2:5], out[5:8]
    innovation = rows @ c @ rows.T + np.diag(variance)
    expected = parameters(p) + c @ rows.T @ np.linalg.solve(innovation, out[:2])
    left = c - c @ rows.T @ np.linalg.solve(innovation, rows @ c)
    chi2 = helix.chi2_of(c, variance, out)
    assert chi2 == pytest.approx(out[:2] @ np.linalg.solve(innovation, out[:2]))
    helix.update(p, c, out, gain)
    np.testing.assert_allclose(parameters(p), expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(c, left, atol=1e-12)


def test_the_perigee_is_the_point_nearest_to_the_beam():
    for p in states():
        s = fitting.to_beam(p)
        helix.advance(p, np.zeros((6, 6)), s, np.empty((6, 6)))
        nearest = np.hypot(p[0], p[1])
        for away in (-5.0, -0.1, 0.1, 5.0):
            q = p.copy()
            helix.advance(q, np.zeros((6, 6)), away, np.empty((6, 6)))
            assert np.hypot(q[0], q[1]) > nearest
        out, _ = perigee_of(p, np.eye(6))
        assert abs(out[0]) == pytest.approx(nearest, abs=1e-6)
        assert out[3] == pytest.approx(np.arctan2(1.0, p[5]))


def perigee_of(p, covariance):
    out, result = np.empty(5), np.empty((5, 5))
    fitting.perigee(p, covariance, p[6], 6e-4, np.empty((6, 6)), np.empty(6), out, result)
    return out, result


def test_the_covariance_at_the_perigee_is_that_of_small_changes():
    """A change of the state moves the nearest point, too: its parameters are compared there."""
    random = np.random.default_rng(5)
    for p in states():
        helix.advance(p, np.zeros((6, 6)), fitting.to_beam(p), np.empty((6, 6)))
        root = random.normal(size=(6, 6))
        covariance = root @ root.T

        def changed(component, size, p=p, covariance=covariance):
            q = p.copy()
            if component == 3:
                angle = np.arctan2(q[4], q[3]) + size
                q[3], q[4] = np.cos(angle), np.sin(angle)
            else:
                q[component if component < 3 else component + 1] += size
            helix.advance(q, np.zeros((6, 6)), fitting.to_beam(q), np.empty((6, 6)))
            return perigee_of(q, covariance)[0]

        sizes = np.array([1e-3, 1e-3, 1e-3, 1e-6, 1e-6, 1e-8])
        rates = np.stack([(changed(k, s) - changed(k, -s)) / (2 * s) for k, s in enumerate(sizes)], axis=1)
        expected, found = rates @ covariance @ rates.T, perigee_of(p, covariance)[1]
        scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
        np.testing.assert_allclose(found / scale, expected / scale, atol=2e-3)


def test_the_way_back_to_a_cylinder_ends_on_it():
    back = 0
    for p in states():
        if not helix.to_cylinder(p, 260.0) > 0:
            continue
        helix.advance(p, np.zeros((6, 6)), helix.to_cylinder(p, 260.0), np.empty((6, 6)))
        for radius in (35.27, 200.0):
            s = fitting.back_to_cylinder(p, radius)
            if s == 0 and radius < 100:  # the track began outside
                continue
            assert s < 0
            q = p.copy()
            helix.advance(q, np.zeros((6, 6)), s, np.empty((6, 6)))
            assert np.hypot(q[0], q[1]) == pytest.approx(radius, abs=2e-3)
            back += 1
        assert fitting.back_to_cylinder(p, 300.0) == 0
    assert back > 10


@pytest.mark.parametrize("pt", [0.6, 5.0])
def test_all_matter_on_the_way_to_the_beam_counts(reconstruction, detector, pt):
    """The error of d0 of a soft track is that of scattering in the beam pipe and the first layer, and cannot be less."""
    from tamis.events.detector import sort_cells
    from tamis.simulate.silicon import TrackSample, simulate_tracks
    from tamis.tracking.reading import cell_columns

    (batch,) = simulate_tracks(TrackSample("muon", particles=40, pt=(pt, 1.05 * pt), eta_max=0.3), 1, seed=9)
    tracks = reconstruction(sort_cells(*cell_columns(batch, 0).values(), detector.modules))
    pipe, support = (one.material for one in detector.passive[:2])
    first = detector.modules.material[detector.modules.volume == 8][0]
    least = (
        0.0136 / pt * np.sqrt(pipe * 19**2 + first * 32**2 + support * 30**2) * 0.8
    )  # of Highland's logarithm
    errors = np.sqrt(tracks.covariance[:, 0, 0])
    assert np.median(errors) > 0.95 * least
    assert np.median(errors) < 1.3 * least + 0.02
