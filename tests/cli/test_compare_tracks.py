"""`tamis compare-tracks`, and the outputs of `tamis track` that it and others read."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("numba", reason="numba is not installed")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    from tamis.events import open_writer
    from tamis.events.detector import generic_detector
    from tamis.simulate.silicon import TrackSample, simulate_tracks
    from tamis.tracking import Reconstruction, track_file

    folder = tmp_path_factory.mktemp("tracks")
    (batch,) = simulate_tracks(TrackSample("muon", particles=5, pt=(1.0, 20.0)), 3, seed=2)
    with open_writer(folder / "muons.root") as writer:
        writer.write(batch)
    track_file(
        folder / "muons.root", Reconstruction(generic_detector()), folder / "kept.root", keep_stages=True
    )
    return folder / "muons.root", folder / "kept.root"


def test_the_page_is_next_to_the_tracks(call, files, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    code, out, err = call("track", files[0], "-o", tmp_path / "found.root", "--page")
    assert code == 0
    assert "15 of 15" in out
    page = tmp_path / "found-page" / "index.html"
    assert f"the page: file://{page}" in err
    assert "Profile of tracking" in page.read_text(encoding="utf-8")
    assert (page.parent / "figures" / "tracking-rates-eta.png").is_file()
    assert json.loads((page.parent / "tracking.json").read_text())["tracks"] == 15
    code, _, err = call("track", files[0], "-o", tmp_path / "found.root", "--page")
    assert code == 2
    assert "found-page/tracking.json exists, and records are never overwritten" in err


def test_stages_and_tracks_are_compared(call, files, tmp_path):
    code, out, err = call("compare-tracks", files[1], files[1], "--record", tmp_path / "c.json")
    assert (code, err) == (0, "")
    assert "3 events in both (0 only in" in out
    assert "15" in out
    document = json.loads((tmp_path / "c.json").read_text())
    assert document["kind"] == "tracks-comparison"
    assert [one["stage"] for one in document["stages"]][-1] == "tracks"
    code, out, _ = call("compare-tracks", files[1], files[1], "--json")
    assert json.loads(out)["stages"] == document["stages"]


def test_files_and_options_that_do_not_fit_are_named(call, files, tmp_path):
    muons, kept = files
    code, _, err = call("compare-tracks", muons, kept)
    assert code == 4
    assert "Track_" in err
    assert "muons.root" in err
    code, _, err = call("compare-tracks", tmp_path / "none.root", kept)
    assert code == 2
    for arguments, message in (
        (["--page"], "--page draws next to the file of tracks"),
        (["--keep-stages"], "--keep-stages writes to the file of tracks"),
        (["--keep-stages", "-o", tmp_path / "csv"], "name a file that ends in .root or .parquet"),
    ):
        code, _, err = call("track", muons, *arguments)
        assert code == 2
        assert message in err
    (tmp_path / "file").write_text("")
    code, _, err = call("track", muons, "-o", tmp_path / "file" / "found.csv")
    assert code == 2
    assert "is a file: tracks as CSV files need a folder" in err
