"""Tracks in a mapped field: as good as in a constant one, and wrong if the map is left out."""

from __future__ import annotations

import json

import awkward as ak
import numpy as np
import pytest
from tests.tracking.test_helix import parameters, state

from tamis._base import UsageError
from tamis.events.detector import DetectorFiles
from tamis.simulate.silicon import TrackSample, simulate_tracks
from tamis.simulate.silicon.helix import Helices
from tamis.simulate.silicon.mapped import advance_in_map
from tamis.tracking import Reconstruction
from tamis.tracking.finding import field_of
from tamis.tracking.kernels import field as field_kernels
from tamis.tracking.kernels import helix
from tamis.tracking.matching import Matches, match_tracks, perigee_of
from tamis.tracking.physics import width_of
from tamis.tracking.reading import TrueParticles, _event
from tamis.tracking.steps import STAGES


def states(count=20, seed=1):
    """Yield states that leave the beam, in all of the solenoid."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        phi, along = random.uniform(-np.pi, np.pi), random.uniform(30, 700)
        turned = phi + random.uniform(-0.4, 0.4)
        yield np.array(
            [
                along * np.cos(phi), along * np.sin(phi), random.uniform(-2700, 2700), np.cos(turned), np.sin(turned), random.normal() * 2,
                random.choice([-1, 1]) * random.uniform(1e-4, 1.2e-3),
            ]
        )  # fmt: skip


def stepped(p, length, field_map, pieces=40):
    """Return position, azimuth, slope and curvature after small steps of the simulation."""
    helices = Helices(p[None, :3], np.arctan2(p[4:5], p[3:4]), p[5:6], p[6:7])
    for _ in range(pieces):
        helices = advance_in_map(helices, np.full(1, length / pieces), field_map)
    return np.array([*helices.position[0], helices.phi[0], helices.slope[0], helices.curvature[0]])


@pytest.mark.parametrize("way", [0.1, 60.0, 150.0, -150.0])
def test_a_move_follows_the_field(mapped_detector, way):
    field = field_of(mapped_detector)
    for p in states():
        length = way / np.hypot(1, p[5])
        expected = stepped(p, length, mapped_detector.field_map)
        field_kernels.move(p, np.zeros((6, 6)), length, field, np.empty((6, 6)))
        tolerance = 1e-9 + 2e-11 * abs(way) ** 3
        found = parameters(p)
        found[3] = expected[3] + np.mod(found[3] - expected[3] + np.pi, 2 * np.pi) - np.pi
        np.testing.assert_allclose(found[:3], expected[:3], atol=20 * tolerance + 1e-6)
        np.testing.assert_allclose(found[3:5], expected[3:5], atol=tolerance)
        assert found[5] == pytest.approx(expected[5], rel=tolerance)


def test_the_covariance_moves_with_the_state_through_the_field(mapped_detector):
    field = field_of(mapped_detector)
    sizes = np.array([1e-3, 1e-3, 1e-3, 1e-5, 1e-5, 1e-8])
    for p in states(8):
        length, values = 120.0 / np.hypot(1, p[5]), parameters(p)
        rates = np.empty((6, 6))
        for j in range(6):
            ends = []
            for side in (-1, 1):
                moved = state(values + side * sizes * (np.arange(6) == j))
                field_kernels.move(moved, np.zeros((6, 6)), length, field, np.empty((6, 6)))
                ends.append(parameters(moved))
            rates[:, j] = (ends[1] - ends[0]) / (2 * sizes[j])
        sigma = np.array([0.05, 0.05, 0.1, 1e-3, 3e-3, 1e-5])  # typical of a track
        covariance = np.diag(sigma**2)
        expected = rates @ covariance @ rates.T
        field_kernels.move(p, covariance, length, field, np.empty((6, 6)))
        scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
        # What the slope and the curvature of a state do to each other in Br is left out.
        np.testing.assert_allclose(covariance / scale, expected / scale, atol=0.05)
        np.testing.assert_allclose(
            covariance[:4, :4] / scale[:4, :4], expected[:4, :4] / scale[:4, :4], atol=0.02
        )


def test_three_points_give_the_momentum_in_the_field_there(mapped_detector):
    field, wrong = field_of(mapped_detector), []
    for p in states(40):
        p[:2] *= 40 / np.hypot(*p[:2])
        p[2], p[5] = np.clip(p[2], -1400, 1400), np.clip(p[5], -2, 2)
        points = [stepped(p, length, mapped_detector.field_map)[:3] for length in (0.0, 40.0, 90.0)]
        found, plain = np.empty(7), np.empty(7)
        field_kernels.start_in_field(found, *points, field)
        helix.start_from_points(plain, *points)
        assert found[6] == pytest.approx(p[6], rel=5e-3)
        wrong.append(abs(plain[6] / p[6] - 1))
    assert max(wrong) > 0.08


def reconstructed(detector, files, events, seed, field_map):
    """Return the matches of muons in the field of some files, and the charges of the matched tracks."""
    reconstruct = Reconstruction(detector)
    matches, charges = [], []
    sample = TrackSample("muon", particles=200, pt=(0.5, 20.0))
    for batch in simulate_tracks(sample, events, seed=seed, detector=files):
        names = [name for name in batch.array.fields if name.startswith(("Cell_", "Hit_", "Particle_"))]
        for k in range(len(batch)):
            columns = {name: ak.to_numpy(batch[name][k]) for name in names}
            event = _event((1, 1, k), columns, detector.modules, with_truth=True)
            tracks = reconstruct(event.cells)
            owner = event.truth.of_cell[tracks.first_cell]
            one = match_tracks(tracks, owner, event.truth, detector.field, field_map=field_map)
            matches.append(one)
            charges.append(np.sign(tracks.parameters[~one.fake, 4]))
    return Matches.joined(matches), np.concatenate(charges)


def bias_of(matches, charges, rows=slice(None)):
    """Return the median of the pull of |q / p|, and its error."""
    pull = matches.pull[rows, 4] * charges[rows]
    return np.median(pull), 1.2533 * width_of(pull) / np.sqrt(len(pull))


@pytest.fixture(scope="module")
def files(solenoid_file):
    return DetectorFiles(field_map=solenoid_file)


def test_tracks_in_a_map_are_as_good_as_in_a_constant_field(detector, mapped_detector, files):
    field_map = mapped_detector.field_map
    plain, _ = reconstructed(detector, DetectorFiles(), 8, 3, None)
    found, charges = reconstructed(mapped_detector, files, 8, 3, field_map)
    assert len(found.found) == pytest.approx(len(plain.found), abs=5)
    efficiency, expected = ((one.found > 0).mean() for one in (found, plain))
    assert efficiency > 0.98
    assert abs(efficiency - expected) < 3 * np.sqrt(2 * expected * (1 - expected) / len(plain.found)) + 1e-9
    assert found.fake.mean() < 0.005
    widths, usual = ([width_of(one.pull[:, k]) for k in range(5)] for one in (found, plain))
    assert all(0.9 < width < 1.1 for width in widths), widths
    np.testing.assert_allclose(widths, usual, atol=0.07)
    bias, error = bias_of(found, charges)
    assert abs(bias) < 3 * error
    at_ends = np.abs(found.track_eta) > 1.6
    bias, error = bias_of(found, charges, at_ends)
    assert abs(bias) < 3 * error


def test_without_the_map_momenta_are_wrong(detector, mapped_detector, files):
    found, charges = reconstructed(detector, files, 4, 3, mapped_detector.field_map)
    assert width_of(found.pull[:, 4]) > 2
    bias, error = bias_of(found, charges, np.abs(found.track_eta) > 1.6)
    assert abs(bias) > 10 * error


@pytest.mark.slow
def test_momenta_in_a_map_have_no_bias_anywhere(detector, mapped_detector, files):
    """Beyond that of a constant field, where the most probable energy loss is not the mean one."""
    samples = (
        reconstructed(mapped_detector, files, 32, 21, mapped_detector.field_map),
        reconstructed(detector, DetectorFiles(), 32, 21, None),
    )
    for low, high in ((0, 0.8), (0.8, 1.6), (1.6, 2.5)):
        biases = []
        for found, charges in samples:
            rows = (np.abs(found.track_eta) >= low) & (np.abs(found.track_eta) < high)
            biases.append(bias_of(found, charges, rows))
            assert 0.9 < width_of(found.pull[rows, 4]) < 1.1, (low, high)
        (bias, error), (usual, _) = biases
        assert abs(bias - usual) < 3 * error, (low, high)


def test_the_true_perigee_is_where_a_particle_that_is_followed_from_there_comes_from(mapped_detector):
    """Also for particles that are produced far from the beam, where the field is another."""
    field_map = mapped_detector.field_map
    vertices, momenta, expected = [], [], []
    for p in states(30, seed=4):
        phi, d0 = np.arctan2(p[4], p[3]), 2.0
        p[:3] = -d0 * np.sin(phi), d0 * np.cos(phi), p[2] / 30
        end = stepped(p, 250.0, field_map)
        pt = 0.299792458e-3 * field_map.nominal / abs(end[5])
        vertices.append(end[:3])
        momenta.append([pt * np.cos(end[3]), pt * np.sin(end[3]), pt * end[4]])
        q_over_p = -np.sign(p[6]) / (pt * np.hypot(1, end[4]))
        expected.append([d0, p[2], phi, np.arctan2(1.0, p[5]), q_over_p])
    count = len(vertices)
    charge = np.sign([one[4] for one in expected])
    truth = TrueParticles(np.full(count, 13), charge, np.array(vertices), np.array(momenta), np.zeros(0, int))
    found = perigee_of(truth, np.arange(count), field_map.nominal, field_map)
    difference = found - expected
    difference[:, 2] = np.mod(difference[:, 2] + np.pi, 2 * np.pi) - np.pi
    np.testing.assert_allclose(difference[:, :2], 0, atol=1e-3)
    np.testing.assert_allclose(difference[:, 2:], 0, atol=1e-5)


def test_the_kernels_of_a_gpu_find_the_same_tracks(mapped_detector, files):
    pytest.importorskip("numba.cuda", reason="numba-cuda is not installed")
    from tamis.events.detector import sort_cells
    from tamis.tracking.reading import cell_columns

    sample = TrackSample("muon", particles=4, pt=(0.5, 5.0))
    (batch,) = simulate_tracks(sample, 1, seed=6, detector=files)
    cells = sort_cells(*cell_columns(batch, 0).values(), mapped_detector.modules)
    cpu = Reconstruction(mapped_detector)(cells)
    assert len(cpu) == 4
    part = Reconstruction(mapped_detector, devices={"parameters": "cuda", "fit": "cuda"})(cells)
    np.testing.assert_array_equal(part.hits, cpu.hits)
    np.testing.assert_allclose(part.parameters, cpu.parameters, rtol=1e-6)
    whole = Reconstruction(mapped_detector, devices=dict.fromkeys(STAGES, "cuda"))(cells)
    assert len(whole) == len(cpu)
    rows = [np.argsort(one.parameters[:, 2]) for one in (cpu, whole)]
    sigma = np.sqrt(np.einsum("nii->ni", cpu.covariance[rows[0]]))
    assert (np.abs(cpu.parameters[rows[0]] - whole.parameters[rows[1]]) < 0.25 * sigma).all()


@pytest.mark.slow
def test_workers_reconstruct_in_the_map_as_one_process_does(mapped_detector, files, tmp_path):
    from tamis.events import open_writer
    from tamis.tracking import track_file

    path = tmp_path / "muons.root"
    sample = TrackSample("muon", particles=5)
    with open_writer(path) as writer:
        for batch in simulate_tracks(sample, 4, seed=2, detector=files):
            writer.write(batch)
    records = [track_file(path, Reconstruction(mapped_detector), workers=workers) for workers in (1, 2)]
    one, other = (json.loads(record.physics.model_dump_json()) for record in records)
    assert one == other
    assert one["residuals"][4]["pull_width"] < 1.6


def test_a_map_takes_the_place_of_the_field(solenoid_file, mapped_detector):
    detector = DetectorFiles(field_map=solenoid_file).open()
    assert detector.field == pytest.approx(2.0, abs=1e-6)
    np.testing.assert_array_equal(detector.field_map.values, mapped_detector.field_map.values)
    with pytest.raises(UsageError, match="cannot be 3 T as well"):
        DetectorFiles(field=3.0, field_map=solenoid_file).open()
