"""Stages of tracks: a menu finds the same tracks as `tamis track`, in every mode, and loses no event."""

from __future__ import annotations

import json
import subprocess
import sys

import awkward as ak
import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed")

from tamis._base import DataError, DocumentError, MissingColumnError, MissingExtraError
from tamis.events import Events, open_writer, read_events
from tamis.simulate.silicon import TrackSample, simulate_tracks
from tamis.trigger import Menu, compile_menu, load_menu, menu_of, run_menu
from tamis.trigger.decide import Outcome
from tamis.trigger.run import read_decisions

BROKEN, EMPTY, ODD = 3, 5, 7  # events with a NaN charge, without cells, and with a charge too few


@pytest.fixture(scope="module")
def muons():
    """Eight events of ten muons between 1 and 20 GeV."""
    return Events.concatenate(list(simulate_tracks(TrackSample("muon", pt=(1.0, 20.0)), 8, seed=5)))


@pytest.fixture(scope="module")
def cell_file(muons, tmp_path_factory):
    return written(muons, tmp_path_factory.mktemp("cells") / "muons.root")


@pytest.fixture(scope="module")
def troubled_file(muons, tmp_path_factory):
    columns = {name: muons[name] for name in muons.array.fields}
    cells = {
        name: [ak.to_numpy(columns[name][k]).copy() for k in range(8)]
        for name in columns
        if name.startswith("Cell_")
    }
    cells["Cell_charge"][BROKEN - 1][4] = np.nan
    for lists in cells.values():
        lists[EMPTY - 1] = lists[EMPTY - 1][:0]
    cells["Cell_charge"][ODD - 1] = cells["Cell_charge"][ODD - 1][:-1]
    columns |= {name: ak.Array(lists) for name, lists in cells.items()}
    return written(Events.of(columns), tmp_path_factory.mktemp("cells") / "troubled.parquet")


def written(events, path):
    with open_writer(path) as writer:
        writer.write(events)
    return path


def menu(tracking="default", keep=(), more=None, steps=("count(Track_pt > 0.5) >= 0",)):
    return menu_of(
        Menu.model_validate(
            {
                "menu": "tracks",
                "stages": {"tracks": {"tracking": tracking}, **(more or {})},
                "paths": {"all": {"steps": ["tracks", *steps]}},
                "streams": {"physics": {"paths": ["all"], "keep": keep}},
            }
        )
    )


def accepted(folder):
    (chunk,) = read_events([str(folder / "physics.root")])
    return chunk.events


@pytest.mark.parametrize(
    "options", [{}, {"mode": "event"}, {"workers": 2}], ids=["batch", "event", "workers"]
)
def test_a_menu_finds_the_tracks_of_tamis_track(cell_file, tmp_path, options):
    from tamis.events.detector import generic_detector
    from tamis.tracking import Reconstruction, track_file

    track_file(cell_file, Reconstruction(generic_detector()), tmp_path / "found.root")
    (chunk,) = read_events([str(tmp_path / "found.root")])
    expected = chunk.events
    summary = run_menu(menu(), [cell_file], tmp_path / "out", **options)
    found = accepted(tmp_path / "out")
    assert found["event"].tolist() == expected["event"].tolist()
    names = [name for name in expected.array.fields if name.startswith("Track_")]
    assert len(names) == 16
    for name in names:
        assert str(found[name].type.content) == str(expected[name].type.content)
        assert found[name].tolist() == expected[name].tolist()
    assert not [name for name in found.array.fields if name.startswith(("Cell_", "Hit_"))]
    assert summary.kinds["tracks"] == "tracking"
    assert summary.times["tracks"].events == 8


def test_the_user_may_keep_the_cells(muons, cell_file, tmp_path):
    run_menu(menu(keep=["Cell_*"]), [cell_file], tmp_path / "out")
    assert accepted(tmp_path / "out")["Cell_u"].tolist() == muons["Cell_u"].tolist()


@pytest.mark.parametrize("mode", ["batch", "event"])
def test_broken_events_go_to_debug_with_the_reason_and_the_others_are_decided(troubled_file, tmp_path, mode):
    summary = run_menu(
        menu(steps=["count(Track_pt > 0.5) >= 1"]), [troubled_file], tmp_path / "out", mode=mode
    )
    decisions = read_decisions(tmp_path / "out")
    outcomes = {Outcome.ACCEPTED: set(), Outcome.REJECTED: set(), Outcome.DEBUG: set()}
    for event, outcome in zip(decisions["event"].tolist(), decisions["outcome"].tolist(), strict=True):
        outcomes[outcome].add(event)
    assert outcomes == {
        Outcome.ACCEPTED: {1, 2, 4, 6, 8},
        Outcome.REJECTED: {EMPTY},
        Outcome.DEBUG: {BROKEN, ODD},
    }
    odd, broken = sorted(summary.messages)
    assert "Cell_module and Cell_charge differ in length in event 5:1:7" in odd
    assert "is nan, not a positive number" in broken


def test_candidates_feed_models_that_read_particle_flow(muons, tmp_path):
    """A classifier of lists of particles takes the tracks as charged pions; the lepton comes from the file."""
    columns = {
        name: muons[name] for name in muons.array.fields if name.startswith(("Cell_", "run", "lumi", "event"))
    }
    for kind, count in (("Muon", 1), ("Electron", 0)):
        for name, value in (
            ("pt", 40.0),
            ("eta", 0.3),
            ("phi", 0.1),
            ("pfRelIso03_all", 0.0),
            ("charge", 1.0),
            ("dxy", 0.0),
        ):
            columns[f"{kind}_{name}"] = (
                ak.Array(np.full((8, count), value, np.float32))
                if count
                else ak.unflatten(np.zeros(0, np.float32), [0] * 8)
            )
    path = written(Events.of(columns), tmp_path / "leptons.root")
    chosen = menu(
        {"candidates": "PFCands", "lengths": "cm"},
        more={"topology": {"bundle": "topology-gru", "engine": "reference"}},
        steps=["count(topology_score >= 0) == 1"],
    )
    run_menu(chosen, [path], tmp_path / "out")
    found = accepted(tmp_path / "out")
    assert ak.num(found["PFCands_pt"]).tolist() == [10] * 8
    order = ak.argsort(found["Track_pt"], ascending=False, stable=True)
    for name in ("pt", "eta", "phi", "charge", "d0", "dz"):
        assert found[f"PFCands_{name}"].tolist() == found[f"Track_{name}"][order].tolist()
    assert (found["PFCands_pdgId"] == 211 * found["PFCands_charge"]).to_list() == [[True] * 10] * 8


def test_cuts_and_names_can_be_chosen(cell_file, tmp_path):
    run_menu(menu(), [cell_file], tmp_path / "all")
    own = {"pt_min": 10, "collection": "Hard", "lengths": "cm"}
    run_menu(menu(own, steps=["count(Hard_pt > 0) >= 0"]), [cell_file], tmp_path / "hard")
    every, hard = accepted(tmp_path / "all"), accepted(tmp_path / "hard")
    far = every["Track_pt"] > 12  # seeds near the cut may be lost
    assert 0 < ak.sum(far) < ak.count(every["Track_pt"])
    assert float(ak.min(hard["Hard_pt"])) >= 10
    assert ak.sum(hard["Hard_pt"] > 12) == ak.sum(far)
    np.testing.assert_allclose(
        np.sort(ak.flatten(hard["Hard_d0"][hard["Hard_pt"] > 12])),
        np.sort(ak.flatten(every["Track_d0"][far])) / 10,
        rtol=1e-3,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("tracking", "message"),
    [
        ({"digitisation": "digi.json"}, "digitisation and field are for another detector"),
        ({"field": 3.8}, "digitisation and field are for another detector"),
        ({"pt_min": 0}, "greater than 0"),
        ({"candidates": "Track"}, "cannot both be called Track"),
        ({"geometry": "g.csv", "field": 3, "field_map": "m.csv"}, "leave out field"),
        ("fast", "'default'"),
    ],
)
def test_options_that_do_not_fit_are_named(tracking, message, tmp_path):
    path = tmp_path / "menu.yaml"
    path.write_text(
        f"menu: m\nstages: {{tracks: {{tracking: {json.dumps(tracking)}}}}}\npaths: {{p: {{steps: [tracks, count(Track_pt > 1) > 0]}}}}\nstreams: {{s: {{paths: [p]}}}}\n"
    )
    with pytest.raises(DocumentError, match=message):
        load_menu(path)


def test_a_detector_that_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match=r"field stages.tracks.*none.csv: No such file"):
        compile_menu(menu({"geometry": "none.csv"}))
    with pytest.raises(DocumentError, match=r"field stages.tracks.*none.csv: No such file"):
        compile_menu(menu({"field_map": "none.csv"}))


def test_a_menu_reconstructs_in_the_field_of_a_map(cell_file, tmp_path):
    from tamis.events.detector import solenoid_field, write_field_map

    r, z = np.linspace(0, 1050, 22), np.linspace(-3050, 3050, 123)
    path = tmp_path / "field.csv"
    write_field_map(path, r, z, solenoid_field(r[:, None], z[None], 1200, 2660, 1.0))
    means = []
    for number, tracking in enumerate(("default", {"field_map": str(path)})):
        run_menu(menu(tracking), [cell_file], tmp_path / f"out{number}")
        means.append(float(ak.mean(np.log(accepted(tmp_path / f"out{number}")["Track_pt"]))))
    assert means[0] - means[1] == pytest.approx(np.log(2), abs=0.15)  # half the field, half the momenta


def test_files_without_cells_are_rejected_before_the_first_event(tmp_path):
    path = written(
        Events.of({"run": [1], "luminosityBlock": [1], "event": [1], "x": [1.0]}), tmp_path / "x.root"
    )
    with pytest.raises(MissingColumnError, match="no column 'Cell_module', which 'tracks' reads"):
        run_menu(menu(), [path], tmp_path / "out")


def test_without_numba_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tamis\[tracking\]'"):
        compile_menu(menu())


def test_a_menu_without_tracks_does_not_import_numba():
    code = (
        "import sys; from tamis.trigger import compile_menu, load_menu; compile_menu(load_menu('hlt-after-level1')).close(); "
        "assert 'numba' not in sys.modules, 'numba'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_shipped_menu_runs(cell_file, tmp_path):
    summary = run_menu(load_menu("tracks"), [cell_file], tmp_path / "out")
    assert summary.counts.debug == 0
    assert summary.counts.accepted + summary.counts.rejected == 8
    assert summary.histograms["pt"].counts
