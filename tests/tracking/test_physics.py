"""Physics and profile of a reconstruction: the counts are those of the tracks, and memory does not grow with the events."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from tamis.tracking import Reconstruction, track_file
from tamis.tracking.chain import STAGES
from tamis.tracking.counters import HardwareCounters
from tamis.tracking.physics import SAMPLED_MOST, PhysicsTally
from tamis.tracking.profile import BOUNDARIES, boundary_sizes
from tamis.tracking.reading import read_cell_events


@pytest.fixture(scope="module")
def record(muon_file, reconstruction):
    return track_file(muon_file, reconstruction)


def test_curves_hold_every_particle_and_track(record):
    curves = {(one.quantity, one.against): one for one in record.physics.curves}
    assert {against for quantity, against in curves if quantity == "efficiency"} == {
        "eta",
        "pt",
        "pile-up",
        "radius",
    }
    for (quantity, _), curve in curves.items():
        passed, total = (sum(getattr(one, name) for one in curve.bins) for name in ("passed", "total"))
        assert total == 40
        assert passed == (40 if quantity == "efficiency" else 0)
        assert len(curve.edges) == len(curve.bins) + 1
        assert curve.bins[0].total
        assert curve.bins[-1].total
    pt = curves["efficiency", "pt"]
    assert (pt.edges[0], pt.edges[-1], pt.unit) == (1.0, 20.0, "GeV")
    assert curves["efficiency", "pile-up"].edges == [-0.5, 0.5]


def test_an_interval_is_wilsons(record):
    (one,) = next(c for c in record.physics.curves if (c.quantity, c.against) == ("fakes", "pile-up")).bins
    assert (one.passed, one.total, one.low) == (0, 40, 0.0)
    assert one.high == pytest.approx(1.96**2 / (40 + 1.96**2), rel=1e-3)


def test_residuals_are_in_histograms_and_bins(record):
    physics = record.physics
    assert (physics.matched, physics.sampled) == (40, 40)
    assert [(one.parameter, one.of) for one in physics.histograms][:6] == [
        *((name, "residual") for name in ("d0", "z0", "phi", "theta", "q/p")),
        ("d0", "pull"),
    ]
    for histogram in physics.histograms:
        assert sum(histogram.counts) + histogram.outside == 40
    widths = {one.parameter: one for one in physics.residuals}
    for curve in physics.residual_curves:
        for one in curve.bins:
            if one is not None:
                assert one.tracks >= 10
                assert 0.2 < one.width / widths[curve.parameter].width < 5
                assert one.width_error == pytest.approx(0.962 * one.width / one.tracks**0.5)


def test_a_random_sample_of_residuals_is_kept_of_many_tracks():
    tally = PhysicsTally()
    rows = np.repeat(np.arange(SAMPLED_MOST * 3, dtype=float)[:, None], 12, axis=1)
    for part in np.array_split(rows, 17):
        tally._keep(part)
    kept = tally._sample[:, 0]
    assert len(kept) == SAMPLED_MOST
    assert len(np.unique(kept)) == SAMPLED_MOST
    thirds = np.bincount((kept // SAMPLED_MOST).astype(int)) / SAMPLED_MOST
    np.testing.assert_allclose(thirds, 1 / 3, atol=0.01)


def test_every_stage_has_its_time_and_every_boundary_its_bytes(record, reconstruction, detector, muon_file):
    assert [one.stage for one in record.stages] == list(STAGES)
    assert {one.device for one in record.stages} == {"cpu"}
    assert all(0 < one.p50_ms <= one.p99_ms for one in record.stages)
    assert record.together.mean_ms == pytest.approx(sum(one.mean_ms for one in record.stages))
    sizes = [
        boundary_sizes(reconstruction.stages(event.cells))
        for event in read_cell_events(muon_file, detector.modules)
    ]
    assert [one.name for one in record.boundaries] == list(BOUNDARIES)
    for one in record.boundaries:
        count, size = np.mean([event[one.name] for event in sizes], axis=0)
        assert (one.count, one.bytes) == (count, size)
    found = {one.name: one for one in record.boundaries}
    assert found["cells"].count == record.cells_per_event
    assert found["cells"].bytes == 16 * found["cells"].count  # module, u, v, charge of four bytes each
    assert found["tracks"].count == 10
    written = {one.written_by for one in record.boundaries}
    assert written == {None, *STAGES}


def test_counters_are_read_or_the_reason_is_in_the_record(record, muon_file, detector):
    ratios = [one.instructions_per_clock for one in (*record.stages, record.together)]
    if record.counters:
        with pytest.raises(OSError, match="hardware counters") as caught:
            HardwareCounters()
        assert record.counters == str(caught.value)
        assert ratios == [None] * len(ratios)
    else:
        assert all(ratio is not None and 0.05 < ratio < 8 for ratio in ratios)
    counted = Reconstruction(detector, counters=_Fixed())
    for event in read_cell_events(muon_file, detector.modules):
        counted(event.cells)
    assert set(counted.ticks) == set(STAGES)
    assert counted.ticks["seeding"] == (3, 2)
    assert counted.ticks["finding"] == (3, 2)


class _Fixed(HardwareCounters):
    """Counters of a host that counts three instructions and two clocks between readings."""

    def __init__(self):
        self.readings = 0

    def read(self):
        self.readings += 1
        return 3 * self.readings, 2 * self.readings


def test_a_summary_has_the_columns_of_acts_and_one_row_for_each_track(muon_file, reconstruction, tmp_path):
    track_file(muon_file, reconstruction, tmp_path / "csv")
    track_file(muon_file, reconstruction, tmp_path / "found.csv")
    names = [f"event{number:09d}-" for number in range(1, 5)]
    assert sorted(path.name for path in (tmp_path / "csv").iterdir()) == [
        f"{one}tracksummary.csv" for one in names
    ]
    assert (tmp_path / f"{names[1]}found.csv").read_text() == (
        tmp_path / "csv" / f"{names[1]}tracksummary.csv"
    ).read_text()
    with (tmp_path / "csv" / f"{names[0]}tracksummary.csv").open() as file:
        rows = list(csv.DictReader(file))
    # the header of a file that ACTS 48 wrote
    assert ",".join(rows[0]) == (
        "track_id,seed_id,particleId,nStates,nMajorityHits,nMeasurements,nOutliers,nHoles,nSharedHits,chi2,ndf,chi2/ndf,pT,eta,phi,"
        "truthMatchProbability,good/duplicate/fake,Measurements_ID"
    )
    assert len(rows) == 10
    assert sorted(row["particleId"] for row in rows) == sorted(
        f"vp=1|vs=0|p={number}|g=0|sp=0" for number in range(1, 11)
    )
    for row in rows:
        hits = [int(one) for one in row["Measurements_ID"].strip("[],").split(",")]
        assert len(hits) == int(row["nMeasurements"]) == int(row["ndf"]) / 2
        assert int(row["nStates"]) == int(row["nMeasurements"]) + int(row["nHoles"])
        assert row["good/duplicate/fake"] == "good"
        assert float(row["truthMatchProbability"]) > 0.9
        assert 0.9 < float(row["pT"]) < 23
