"""`--tree` and `--skip-bad-files` mean the same in every command that reads event files."""

from __future__ import annotations

import json

import pytest
import uproot

from tamis.events import open_writer


@pytest.fixture
def files(jet_file, tmp_path):
    """Return a complete file and a truncated one."""
    good, bad = jet_file("good.root"), tmp_path / "bad.root"
    data = good.read_bytes()
    bad.write_bytes(data[: len(data) * 6 // 10])
    return good, bad


def commands(bundle, good, bad, folder):
    """Return the arguments and the output file of each command."""
    return {
        "score": (("score", bundle.path, good, bad, "-o", folder / "s.parquet"), folder / "s.parquet"),
        "evaluate": (
            (
                "evaluate",
                bundle.path,
                "--background",
                good,
                "--background",
                bad,
                "--signal",
                good,
                "-o",
                folder / "r",
            ),
            folder / "r" / "evaluation-jets.json",
        ),
        "verify": (
            ("verify", bundle.path, "--engine", "onnxruntime", "--events", good, "--events", bad),
            None,
        ),
        "train": (
            ("train", "graph-vae", good, bad, "-o", folder / "m.tamis", "--epochs", 1, "--threads", 1),
            folder / "m.tamis",
        ),
    }


@pytest.mark.parametrize("name", ["score", "evaluate", "verify", "train"])
def test_skip_bad_files_skips_a_truncated_file_and_exits_with_8(call, jet_bundle, files, tmp_path, name):
    arguments, output = commands(jet_bundle, *files, tmp_path / "out")[name]
    code, _, err = call(*arguments)
    assert code == 4
    assert "bad.root" in err
    assert output is None or not output.exists()
    code, out, err = call(*arguments, "--skip-bad-files", "--json")
    assert code == 8, err
    assert json.loads(out)
    assert "bad.root" in next(line for line in err.splitlines() if line.startswith("skipped "))
    assert output is None or output.exists()


def test_the_tree_can_be_named(call, jet_bundle, jet_file, tmp_path):
    file = jet_file("good.root")
    for name in ("score", "evaluate", "verify", "train"):
        arguments, _ = commands(jet_bundle, file, file, tmp_path / "out")[name]
        code, _, err = call(*arguments, "--tree", "Evnts")
        assert code != 0
        assert "Evnts" in err, name
        assert "Events" in err, name
    assert json.loads(call("inspect", file, "--tree", "Events", "--json")[1])["tree"] == "Events"
    assert "Evnts" in call("inspect", file, "--tree", "Evnts")[2]


def test_only_bad_files_is_an_error_even_with_skip_bad_files(call, jet_bundle, files, tmp_path):
    _, bad = files
    for name in ("score", "evaluate", "verify", "train"):
        arguments, output = commands(jet_bundle, bad, bad, tmp_path / "out")[name]
        code, _, err = call(*arguments, "--skip-bad-files")
        assert code not in (0, 8, 70), name
        assert "bad.root" in err, name
        assert output is None or not output.exists()


def test_the_format_of_a_file_without_suffix_is_detected(call, jet_bundle, jet_events, tmp_path):
    with open_writer(tmp_path / "e.root") as writer:
        writer.write(jet_events(10))
    (tmp_path / "e.root").rename(tmp_path / "events")
    code, out, err = call(
        "score", jet_bundle.path, tmp_path / "events", "-o", tmp_path / "s.parquet", "--json"
    )
    assert code == 0, err
    assert json.loads(out)["events"] == 10


def test_invented_event_numbers_are_reported(call, jet_bundle, jet_events, jet_file, tmp_path):
    columns = jet_events(10).array
    with uproot.recreate(tmp_path / "bare.root") as file:
        file["Events"] = {name: columns[name] for name in columns.fields if name not in ("run", "event")}
    output = tmp_path / "s.parquet"
    code, out, err = call("score", jet_bundle.path, tmp_path / "bare.root", "-o", output, "--json")
    assert code == 0, err
    assert json.loads(out)["made_up"] == ["run", "event"]
    assert "some files lack run, event, so these numbers were generated: run 0" in err
    code, out, err = call("score", jet_bundle.path, jet_file("whole.root"), "-o", output)
    assert (code, err) == (0, "")
