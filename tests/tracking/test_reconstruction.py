"""The whole chain: muons are found with their parameters, and odd events end well."""

from __future__ import annotations

import numpy as np
import pytest

from tamis._base import DataError
from tamis.events.detector import TrackingDetector, sort_cells
from tamis.simulate.silicon import TrackSample, simulate_tracks
from tamis.tracking import Reconstruction
from tamis.tracking.matching import Matches, match_tracks
from tamis.tracking.reading import read_cell_events


@pytest.fixture(scope="module")
def matched(reconstruction, detector, muon_file):
    events = list(read_cell_events(muon_file, detector.modules))
    tracks = [reconstruction(event.cells) for event in events]
    matches = [
        match_tracks(found, event.truth.of_cell[found.first_cell], event.truth, detector.field)
        for event, found in zip(events, tracks, strict=True)
    ]
    return events, tracks, Matches.joined(matches)


def test_every_muon_has_one_track_and_every_track_is_of_a_muon(matched):
    _, _, matches = matched
    assert len(matches.found) == 40
    assert matches.found.tolist() == [1] * 40
    assert not matches.fake.any()
    assert not matches.duplicate.any()


def test_residuals_are_as_large_as_their_errors(matched):
    _, _, matches = matched
    assert matches.pull.shape == (40, 5)
    assert (np.abs(matches.pull) < 6).all()
    assert (np.abs(np.median(matches.pull, axis=0)) < 0.6).all()
    assert (
        (np.sqrt((matches.pull**2).mean(axis=0)) > 0.6) & (np.sqrt((matches.pull**2).mean(axis=0)) < 1.6)
    ).all()


def test_tracks_have_the_clusters_of_their_particle(matched):
    events, tracks, _ = matched
    for event, found in zip(events, tracks, strict=True):
        particle = event.truth.of_cell[found.first_cell]
        for hits in np.split(found.hits, np.cumsum(found.counts)[:-1]):
            owners, counts = np.unique(particle[hits], return_counts=True)
            assert counts.max() / len(hits) > 0.9
            assert counts.max() >= (particle == owners[counts.argmax()]).sum() - 2
            assert len(set(hits.tolist())) == len(hits)


def test_an_event_without_cells_has_no_tracks(reconstruction, detector):
    nothing = sort_cells(*(np.zeros(0) for _ in range(4)), detector.modules)
    assert len(reconstruction(nothing)) == 0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_cells_have_no_tracks(reconstruction, detector, count):
    identifier = detector.modules.identifier[:count]
    cells = sort_cells(identifier, np.full(count, 5), np.full(count, 5), np.ones(count), detector.modules)
    assert len(reconstruction(cells)) == 0


def test_noise_alone_makes_hardly_a_track(reconstruction, detector):
    random = np.random.default_rng(4)
    rows = random.integers(0, len(detector.modules), 20_000)
    u, v = (random.random((2, len(rows))) * detector.modules.cells[rows].T).astype(int)
    cells = sort_cells(detector.modules.identifier[rows], u, v, np.full(len(rows), 0.1), detector.modules)
    assert len(reconstruction(cells)) < 5


def test_a_crowded_module_ends_well(reconstruction, detector):
    """All cells of one pixel module: one cluster."""
    row = int(np.argmax(detector.modules.cells.prod(axis=1)))
    across, along = detector.modules.cells[row]
    u, v = (part.ravel() for part in np.meshgrid(np.arange(across), np.arange(along)))
    cells = sort_cells(
        np.full(len(u), detector.modules.identifier[row]), u, v, np.ones(len(u)), detector.modules
    )
    assert len(reconstruction(cells)) == 0


def test_the_order_of_cells_does_not_matter(reconstruction, detector, muons):
    columns = [np.asarray(muons[name][0]) for name in ("Cell_module", "Cell_u", "Cell_v", "Cell_charge")]
    shuffled = np.random.default_rng(1).permutation(len(columns[0]))
    first = reconstruction(sort_cells(*columns, detector.modules))
    other = reconstruction(sort_cells(*(column[shuffled] for column in columns), detector.modules))
    np.testing.assert_array_equal(first.parameters, other.parameters)


@pytest.mark.parametrize("volumes", [(13, 17), (7, 9), (8,)], ids=["strips", "disks", "barrel"])
def test_a_part_of_a_detector_is_reconstructed_or_rejected_with_the_reason(detector, volumes):
    modules = detector.modules.take(np.flatnonzero(np.isin(detector.modules.volume, volumes)))
    part = TrackingDetector("part", modules)
    if volumes == (13, 17):
        with pytest.raises(DataError, match="the detector part has no layer to seed on"):
            Reconstruction(part)
        return
    rows = np.random.default_rng(1).integers(0, len(modules), 300)
    cells = sort_cells(modules.identifier[rows], rows % 300, rows % 1000, np.ones(300), modules)
    assert len(Reconstruction(part)(cells)) == 0


@pytest.mark.slow
def test_soft_pions_and_electrons_are_found_as_well(reconstruction, detector):
    import awkward as ak

    from tamis.tracking.reading import _event

    for kind, least in (("pion", 0.93), ("electron", 0.85)):
        found = wanted = 0
        for batch in simulate_tracks(TrackSample(kind, particles=50, pt=(0.7, 10.0)), 8, seed=3):
            for k in range(len(batch)):
                columns = {
                    name: ak.to_numpy(batch[name][k])
                    for name in batch.array.fields
                    if name.startswith(("Cell_", "Hit_", "Particle_"))
                }
                event = _event((1, 1, k), columns, detector.modules, with_truth=True)
                tracks = reconstruction(event.cells)
                matches = match_tracks(
                    tracks, event.truth.of_cell[tracks.first_cell], event.truth, detector.field
                )
                found += int((matches.found > 0).sum())
                wanted += len(matches.found)
        assert found / wanted > least, kind
