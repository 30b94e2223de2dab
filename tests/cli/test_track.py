"""`tamis simulate tracks` and `tamis track`: from a gun to tracks, and the messages for wrong options and files."""

from __future__ import annotations

import json

import awkward as ak
import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed")

from tamis.events import read_events


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    from tamis.cli import main

    path = tmp_path_factory.mktemp("sample") / "muons.root"
    arguments = [
        "simulate",
        "tracks",
        "--process",
        "muon",
        "--pt",
        "1:20",
        "--particles",
        "5",
        "-n",
        "6",
        "--seed",
        "2",
        "-o",
        str(path),
    ]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    return path


def test_tracks_of_a_gun_are_found_and_written(call, sample, tmp_path):
    found, record = tmp_path / "found.root", tmp_path / "record.json"
    code, out, err = call("track", sample, "-o", found, "--record", record)
    assert (code, err) == (0, "")
    assert "efficiency: 100.00 %" in out
    assert "30 of 30" in out
    assert f"30 tracks in {found}" in out
    document = json.loads(record.read_text())
    assert (document["kind"], document["events"], document["tracks"], document["broken"]) == (
        "tracking",
        6,
        30,
        [],
    )
    assert [stage["stage"] for stage in document["stages"]][:2] == ["clusters", "space points"]
    (chunk,) = read_events([str(found)])
    assert ak.num(chunk.events["Track_pt"]).tolist() == [5] * 6
    assert chunk.events["event"].tolist() == [1, 2, 3, 4, 5, 6]
    assert (
        ((ak.flatten(chunk.events["Track_pt"]) > 0.8) & (ak.flatten(chunk.events["Track_pt"]) < 25))
        .to_numpy()
        .all()
    )


def test_json_is_one_document(call, sample):
    code, out, _ = call("track", sample, "--json")
    assert code == 0
    physics = json.loads(out)["physics"]
    assert physics["efficiency"]["value"] == 1.0
    assert [one["parameter"] for one in physics["residuals"]] == ["d0", "z0", "phi", "theta", "q/p"]


def test_the_sample_depends_on_the_seed_alone(call, tmp_path):
    cells = []
    for name, seed, workers in (("a", 3, 1), ("b", 3, 2), ("c", 4, 1)):
        path = tmp_path / f"{name}.parquet"
        code, _, _ = call(
            "simulate",
            "tracks",
            "--process",
            "pion",
            "-n",
            9,
            "--seed",
            seed,
            "--workers",
            workers,
            "-o",
            path,
        )
        assert code == 0
        cells.append(
            np.concatenate(
                [ak.flatten(chunk.events["Cell_charge"]).to_numpy() for chunk in read_events([str(path)])]
            )
        )
    np.testing.assert_array_equal(cells[0], cells[1])
    assert len(cells[0]) != len(cells[2]) or not np.array_equal(cells[0], cells[2])


def test_a_broken_event_is_told_and_written_without_tracks(call, sample, tmp_path):
    from tamis.events import Events, open_writer

    (chunk,) = read_events([str(sample)])
    charges = [ak.to_numpy(chunk.events["Cell_charge"][k]).copy() for k in range(6)]
    charges[2][7] = np.nan
    columns = {name: chunk.events[name] for name in chunk.events.array.fields} | {
        "Cell_charge": ak.Array(charges)
    }
    path, found = tmp_path / "broken.root", tmp_path / "found.root"
    with open_writer(path) as writer:
        writer.write(Events.of(columns))
    code, out, _ = call("track", path, "-o", found)
    assert code == 0
    assert "event 3 has no tracks: the charge of cell" in out
    (chunk,) = read_events([str(found)])
    assert ak.num(chunk.events["Track_pt"]).tolist() == [5, 5, 0, 5, 5, 5]
    assert chunk.events["tamis_tracking_error"].tolist() == [False, False, True, False, False, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["simulate", "tracks", "--process", "ttbar", "--pt", "3"],
            "--pt and --particles apply to muon, pion, electron",
        ),
        (
            ["simulate", "tracks", "--process", "muon", "--pt", "3:x"],
            "--pt is '3:x': write two transverse momenta",
        ),
        (["simulate", "tracks", "--process", "muon", "--pt", "5:1"], "are not two positive numbers in order"),
        (["simulate", "tracks", "--process", "muon", "--mu", "10"], "has no pile-up"),
        (["simulate", "tracks", "--process", "muno"], "no process is called 'muno'"),
        (["simulate", "tracks", "--process", "muon", "--tune", "monash"], "No such option '--tune'"),
        (["simulate", "qcd", "--process", "muon"], "No such option '--process'"),
        (["simulate", "qcd", "--field-map", __file__], "No such option '--field-map'"),
        (["simulate", "qcd", "--with", "acts"], "No such option '--with'"),
        (["simulate", "tracks", "--with", "acts", "--field-map", __file__], "leave out --geometry"),
        (["simulate", "tracks", "--acts-python", "python3"], "--acts-python is for --with acts"),
        (["simulate", "tracks", "--process", "muon", "--field-map", __file__], "test_track.py"),
    ],
)
def test_options_that_do_not_fit_are_named(call, tmp_path, arguments, message):
    path = tmp_path / "x.root"
    code, _, err = call(*arguments, "-n", "1", "-o", path)
    assert code == 2
    assert message in err
    assert not path.exists()


def test_files_without_cells_are_named(call, tmp_path, sample):
    (tmp_path / "empty").mkdir()
    code, _, err = call("track", tmp_path / "empty")
    assert code != 0
    assert "has no file named event...-cells.csv" in err
    code, _, err = call("track", sample, "--digitisation", sample)
    assert code == 2
    assert "name the geometry too" in err
    (tmp_path / "g.csv").write_text("a,b\n")
    code, _, err = call("track", sample, "--geometry", tmp_path / "g.csv")
    assert code != 0
    assert "is not a geometry of ACTS or TrackML" in err


def test_a_detector_of_strips_is_simulated_and_reconstructed_from_its_files(call, sample, tmp_path):
    from tamis.events.detector import strip_detector, write_detector

    geometry, digitisation, muons = (tmp_path / name for name in ("d.csv", "d.json", "muons.root"))
    write_detector(strip_detector(), geometry, digitisation)
    files = ("--geometry", geometry, "--digitisation", digitisation)
    code, _, err = call(
        "simulate", "tracks", "--process", "muon", "--pt", "1:20", "-n", 4, "--seed", 3, "-o", muons, *files
    )
    assert (code, err) == (0, "")
    code, out, _ = call("track", muons, *files, "--json")
    assert code == 0
    physics = json.loads(out)["physics"]
    assert physics["efficiency"]["value"] > 0.9
    assert physics["fakes"]["value"] == 0
    code, out, _ = call("track", muons, *files, "--seeds-from", "all", "--json")
    assert json.loads(out)["physics"] == physics  # there is nothing else to begin with
    code, _, err = call("track", muons, *files, "--seeds-from", "pixels")
    assert code != 0
    assert "it has no pixels" in err
    assert "7890 pairs of strip modules: seed from those (--seeds-from strips)" in err
    code, _, err = call("track", sample, "--seeds-from", "strips")
    assert code != 0
    assert "the detector generic has no layer to seed on: it has no pairs of strip modules" in err
    code, _, err = call("simulate", "tracks", "--process", "muon", "-n", 1, "-o", muons, "--field", 3)
    assert code == 2
    assert "name a geometry too" in err
    code, _, err = call("simulate", "qcd", "-n", 1, "-o", muons, *files)
    assert code == 2
    assert "No such option '--geometry'" in err


def test_a_solenoid_is_mapped_and_used(call, tmp_path):
    field, muons = tmp_path / "field.csv", tmp_path / "muons.root"
    solenoid = ["solenoid", "--radius", "1200", "--half-length", "2660", "-o", field]
    code, out, _ = call(*solenoid)
    assert code == 0
    assert "on the axis 2 T in the middle, 0.735 T at z = 3050 mm" in " ".join(out.split())
    assert field.read_text().startswith("r,z,Br,Bz\n0,-3050,0,")
    code, _, err = call(
        "simulate",
        "tracks",
        "--process",
        "muon",
        "--pt",
        "1:20",
        "-n",
        "2",
        "--field-map",
        field,
        "-o",
        muons,
    )
    assert (code, err) == (0, "")
    widths = []
    for options in ((), ("--field-map", field)):
        code, out, _ = call("track", muons, "--json", *options)
        document = json.loads(out)
        assert (code, document["tracks"]) == (0, 20)
        widths.append(document["physics"]["residuals"][4]["pull_width"])
    assert widths[0] > 2 > widths[1]
    code, _, err = call("track", muons, "--field", "3", "--field-map", field)
    assert code == 2
    assert "cannot be 3 T as well" in err
    small = tmp_path / "small.csv"
    call(*solenoid[:-1], small, "--z-max", "2000")
    code, _, err = call("track", muons, "--field-map", small)
    assert code == 2
    assert "does not cover the detector generic" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--radius", "1000"], "0 < r-max < radius"),
        (["--half-length", "-1"], "--half-length is -1; it is a length above 0 in mm"),
        (["--field", "0"], "other than 0"),
        (["--step", "0.1"], "choose a larger one"),
        (["-o", "field.root"], "ends in .csv or .txt"),
    ],
)
def test_a_solenoid_that_cannot_be_is_told(call, tmp_path, options, message):
    arguments = ["--radius", "1200", "--half-length", "2700", "-o", tmp_path / "field.csv", *options]
    code, _, err = call("solenoid", *arguments)
    assert code == 2
    assert message in err
    assert not list(tmp_path.iterdir())
