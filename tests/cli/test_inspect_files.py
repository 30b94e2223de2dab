"""`inspect` on files of events, and `--alias` of the commands that read them."""

import json
import re

import numpy as np
import pytest

from tamis.events import Events, write_events


def test_commands_take_aliases(call, tmp_path):
    path = tmp_path / "a.parquet"
    numbers = {name: np.arange(30) for name in ("run", "luminosityBlock", "event")}
    write_events(path, Events.of({**numbers, "Missing": np.arange(30, dtype=np.float32)}))
    (tmp_path / "menu.yaml").write_text(
        "menu: m\npaths: {p: {steps: [MET_pt > 10]}}\nstreams: {s: {paths: [p], keep: [MET_pt]}}\n"
    )
    menu, out = str(tmp_path / "menu.yaml"), str(tmp_path / "out")
    assert call("menu", menu, path)[0] != 0
    assert call("menu", menu, path, "--alias", "MET_pt=Missing")[0] == 0
    code, shown, err = call("run", menu, path, "-o", out, "--alias", "MET_pt=Missing", "--json")
    assert code == 0, err
    assert json.loads(shown)["counts"]["accepted"] == 19
    code, _, err = call("run", menu, path, "-o", out + "2", "--alias", "MET_pt")
    assert (code, "--alias takes NAME=COLUMN" in err) == (2, True)


def test_inspect_summarises_a_real_file_by_collection(call, real_file):
    code, out, _ = call("inspect", real_file("nano_dy.root"))
    assert code == 0
    lines = out.splitlines()
    assert len(lines) < 90  # of 1499 columns
    assert "format: NanoAOD v9" in out
    jets = next(line for line in lines if line.startswith("│ Jet "))
    assert [cell.strip() for cell in jets.strip("│").split("│")][1:3] == ["36", "4.7"]
    assert "tree Runs: TTree, 1 entry" in out
    assert "shipped models that find their inputs here: topology-hlf" in out
    assert "Jet_btag = Jet_btagDeepFlavB" in out
    assert (
        "egamma: no EcalCell_et, EcalCell_eta, EcalCell_phi (CMS's analysis formats have no calorimeter cells)"
        in out
    )
    assert "(CMS's analysis formats have no tracks beside the particle-flow candidates)" in out


def test_inspect_shows_the_columns_of_a_collection(call, real_file):
    code, out, _ = call("inspect", real_file("nano_dy.root"), "--columns", "FsrPhoton_*")
    assert code == 0
    assert sum(line.startswith("│ FsrPhoton_") for line in out.splitlines()) == 6
    code, _, err = call("inspect", real_file("nano_dy.root"), "--columns", "Nothing_*")
    assert code == 2
    assert "no column that matches 'Nothing_*'; collections: " in err


def test_inspect_json_has_models_and_collections(call, real_file):
    code, out, _ = call("inspect", real_file("pfnano.root"), "--json")
    assert code == 0
    found = json.loads(out)
    assert found["models"]["conv-vae"] == []
    assert "leading_jets" in found["features"]
    assert "egamma_frames" not in found["features"]
    assert "EcalCell_et" in found["models"]["egamma"]
    sizes = {c["name"]: c["compressed_bytes"] for c in found["columns"]}
    assert all(size > 0 for size in sizes.values())


@pytest.mark.parametrize("width", [80, 100, 140])
def test_inspect_breaks_no_word(width, real_file, monkeypatch, capsys):
    from tamis.cli import output

    monkeypatch.setattr(output.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(width))
    from tamis.cli.inspect import _file

    _file(str(real_file("pfnano.root")), None, (), None, False)
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert [line for line in out.splitlines() if len(line) > width and "/" not in line] == []
    for word in ("FatJetPFCands", "topology-gru", "DeepMETResolutionTune"):
        assert word in out
