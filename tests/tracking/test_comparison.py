"""Two files of tracks: the same objects are paired, numbers that differ are counted, and files that do not fit are rejected."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tamis._base import DataError
from tamis.events import Events, open_writer, read_events
from tamis.tracking import compare_track_files, track_file
from tamis.tracking.comparison import paired_tracks
from tamis.tracking.pairing import close_pairs, pair_nearest


@pytest.fixture(scope="module")
def kept(muon_file, reconstruction, tmp_path_factory):
    path = tmp_path_factory.mktemp("kept") / "kept.root"
    track_file(muon_file, reconstruction, path, keep_stages=True)
    return path


def changed(path, out, **changes):
    """Write the events of a file with some columns replaced by functions of the old ones, the last event first."""
    (chunk,) = read_events([str(path)])
    columns = {name: chunk.events[name][::-1] for name in chunk.events.array.fields}
    with open_writer(out) as writer:
        writer.write(Events.of(columns | {name: change(columns[name]) for name, change in changes.items()}))
    return out


def test_a_file_agrees_with_itself_in_every_stage(kept):
    comparison = compare_track_files(kept, kept)
    assert [one.stage for one in comparison.stages] == [
        "clusters",
        "space points",
        "seeding",
        "parameters",
        "tracks",
    ]
    assert comparison.events == 4
    assert comparison.stages[-1].both == 40
    for stage in comparison.stages:
        assert stage.both > 30
        assert (stage.only_a, stage.only_b) == (0, 0)
        for quantity in stage.quantities:
            assert set(quantity.matching.values()) == {1.0}, quantity
            assert quantity.largest == 0


def test_a_number_that_is_off_by_half_a_percent_matches_at_one_percent(kept, tmp_path):
    other = changed(kept, tmp_path / "b.root", Track_qop=lambda old: old * np.float32(1.005))
    tracks = compare_track_files(kept, other).stages[-1]
    assert tracks.both == 40
    matching = {one.quantity: one.matching for one in tracks.quantities}
    assert matching["qop"] == {"0.01": 0.0, "0.1": 0.0, "1": 1.0, "5": 1.0}
    assert set(matching["d0"].values()) == {1.0}


def test_azimuths_on_both_sides_of_pi_are_near():
    one = {f"Track_{name}": np.array([0.1]) for name in ("d0", "dz", "theta", "qop")}
    errors = {f"Track_{name}Err": np.array([0.01]) for name in ("d0", "dz", "phi", "theta", "qop")}
    a = one | errors | {"Track_phi": np.array([np.pi - 1e-4])}
    b = one | errors | {"Track_phi": np.array([-np.pi + 1e-4])}
    assert [rows.tolist() for rows in paired_tracks(a, b)] == [[0], [0]]
    far = b | {"Track_phi": np.array([-np.pi + 0.2])}
    assert [rows.tolist() for rows in paired_tracks(a, far)] == [[], []]


def test_the_nearest_are_paired_and_each_is_used_once():
    cells = np.zeros((3, 2), np.int64)
    i, j = close_pairs(cells, cells)
    assert len(i) == 9
    values, others = np.array([0.0, 1.0, 5.0]), np.array([0.9, 0.2, 1.1])
    rows_a, rows_b = pair_nearest(i, j, np.abs(values[i] - others[j]))
    # 1.0 takes 0.9 before 1.1 (equal costs: the first row), 0.0 takes 0.2, 5.0 the last
    assert sorted(zip(rows_a.tolist(), rows_b.tolist(), strict=True)) == [(0, 1), (1, 0), (2, 2)]


def test_other_cuts_are_seen_in_the_stages_that_they_concern(kept, muon_file, reconstruction, tmp_path):
    looser = replace(
        reconstruction, seeding=replace(reconstruction.seeding, seeds_per_middle=1), nanoseconds={}, ticks={}
    )
    track_file(muon_file, looser, tmp_path / "b.root", keep_stages=True)
    stages = {one.stage: one for one in compare_track_files(kept, tmp_path / "b.root").stages}
    assert (stages["clusters"].only_a, stages["clusters"].only_b) == (0, 0)
    assert stages["seeding"].only_a > 0
    assert stages["seeding"].only_b == 0
    assert stages["parameters"].both == stages["seeding"].both > 0


def test_files_without_stages_are_compared_by_tracks_and_the_reason_is_told(
    kept, muon_file, reconstruction, tmp_path
):
    track_file(muon_file, reconstruction, tmp_path / "plain.root")
    comparison = compare_track_files(kept, tmp_path / "plain.root")
    assert [one.stage for one in comparison.stages] == ["tracks"]
    assert comparison.stages[0].both == 40
    (reason,) = comparison.left_out
    assert "plain.root lacks them" in reason


def test_events_in_one_file_alone_are_counted_and_files_without_common_events_are_rejected(kept, tmp_path):
    other = changed(kept, tmp_path / "b.root", event=lambda old: old + 2)
    comparison = compare_track_files(kept, other)
    assert (comparison.events, comparison.only_a, comparison.only_b) == (2, 2, 2)
    far = changed(kept, tmp_path / "c.root", event=lambda old: old + 100)
    with pytest.raises(DataError, match="have no event in common: they have 4 and 4 events"):
        compare_track_files(kept, far)
    twice = changed(kept, tmp_path / "d.root", event=lambda old: old * 0 + 1)
    with pytest.raises(DataError, match=r"has the event \d+:1:1 more than once"):
        compare_track_files(kept, twice)
