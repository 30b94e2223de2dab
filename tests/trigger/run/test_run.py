"""The output of a run, in which every event has exactly one outcome."""

from __future__ import annotations

import json

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest
import uproot

from tamis._base import MissingColumnError, UsageError
from tamis.cbuild import load_module
from tamis.events import read_events
from tamis.trigger import Menu, PathSpec, StreamSpec, account, load_menu, menu_of, run_menu, stage
from tamis.trigger.decide import loop
from tamis.trigger.run.documents import InputFile, RunPlan


def spread_of(events):
    return np.array([max(pt) - min(pt) if len(pt) else 0.0 for pt in events["Jet_pt"].to_list()], np.float32)


def test_events_go_to_the_streams_of_their_paths(menu_file, event_file, tmp_path, make_events):
    events = make_events(1000)
    summary = run_menu(load_menu(menu_file), [event_file("a.root", 1000)], tmp_path / "out", unit_events=300)
    ht = np.array([sum(pt for pt in jets if pt > 30) for jets in events["Jet_pt"].to_list()])
    met, spread = events["MET_pt"].to_numpy(), spread_of(events)
    decided = {
        k: np.array(v) for k, v in pq.read_table(tmp_path / "out" / "decisions.parquet").to_pydict().items()
    }
    assert decided["entry"].tolist() == list(range(1000))
    assert decided["HLT_met"].tolist() == (met > 60).tolist()
    assert decided["HLT_hard"].tolist() == (ht > 200).tolist()
    prescaled = decided["HLT_wide"]
    assert not (prescaled & ~((met > 20) & (spread > 50))).any()
    assert 0.2 < prescaled.sum() / ((met > 20) & (spread > 50)).sum() < 0.47  # a prescale of three
    counts = summary.counts
    assert counts.entered == 1000 == counts.accepted + counts.rejected
    assert counts.debug == counts.unreadable == 0
    with uproot.open(tmp_path / "out" / "jets.root") as file:
        jets = file["Events"].arrays()
        assert "HT > 200" in file["tamis_menu"]
    wanted = np.flatnonzero((ht > 200) | prescaled)
    assert jets["event"].tolist() == wanted.tolist()
    assert jets["Jet_pt"].tolist() == events["Jet_pt"][wanted].tolist()
    assert jets["HLT_wide_prescale"].tolist() == [3] * len(wanted)
    assert np.allclose(jets["HT"].to_numpy(), ht[wanted])
    slim = next(iter(read_events(tmp_path / "out" / "met.parquet"))).events
    assert "trouble" not in slim
    assert slim["event"].to_list() == np.flatnonzero(met > 60).tolist()
    filled = summary.histograms["ht"]
    assert filled.below + sum(filled.counts) + filled.above == 1000
    with uproot.open(tmp_path / "out" / "histograms.root") as file:
        assert file["ht"].values().tolist() == np.histogram(ht, 20, (0, 1000))[0].tolist()


def test_modes_workers_and_units_do_not_change_decisions(menu_file, event_file, tmp_path, content):
    files = [event_file("a.root", 700), event_file("b.root", 500, seed=2)]
    found = []
    for number, options in enumerate(
        ({}, {"mode": "event"}, {"workers": 2, "unit_events": 97}, {"unit_events": 1000})
    ):
        run_menu(load_menu(menu_file), files, tmp_path / f"out{number}", **options)
        found.append(content(tmp_path / f"out{number}"))
    assert pq.read_table(tmp_path / "out0" / "decisions.parquet")["event"].to_pylist() == [
        *range(700),
        *range(500),
    ]
    assert found[0] == found[1] == found[2] == found[3]


def test_events_with_errors_go_to_debug_and_can_be_run_again(menu_file, event_file, tmp_path, make_events):
    met = make_events(400)["MET_pt"].to_numpy()
    prescaled, passed_over = np.flatnonzero(met > 20), np.flatnonzero(met <= 20)
    trouble = {int(prescaled[5]): 1, int(prescaled[70]): 1, int(prescaled[-1]): 2, int(passed_over[0]): 1}
    path = event_file("a.root", 400, trouble=trouble)
    menu_file.write_text(
        menu_file.read_text().replace("budget: 10s", "budget: 200ms").replace("prescale: 3", "prescale: 1")
    )
    for mode in (
        "batch",
        "event",
    ):  # in a micro-batch every event has the same share of the time, so that a single slow event does not time out
        codes = (1,) if mode == "batch" else (1, 2)
        expected = {event: code for event, code in trouble.items() if met[event] > 20 and code in codes}
        out = tmp_path / mode
        summary = run_menu(load_menu(menu_file), [path], out, mode=mode, unit_events=150)
        assert summary.counts.debug == len(expected)
        assert summary.counts.balanced
        debug = next(iter(read_events(out / "debug.root"))).events
        assert dict(zip(debug["debug_entry"].to_list(), debug["debug_reason"].to_list(), strict=True)) == {
            event: "raised" if code == 1 else "time_out" for event, code in expected.items()
        }
        assert debug["debug_stage"].to_list() == ["mine"] * len(expected)
        assert any("no such jet" in message for message in debug["debug_message"].to_list())
        assert set(debug["debug_entry"].to_list()).isdisjoint(
            pq.read_table(out / "decisions.parquet", filters=[("outcome", "!=", "debug")])[
                "entry"
            ].to_pylist()
        )
    again = run_menu(
        load_menu(menu_file), [tmp_path / "event" / "debug.root"], tmp_path / "again", mode="event"
    )
    assert again.counts.entered == again.counts.debug == len(expected)


def test_not_finite_and_undecided_events_go_to_debug(tmp_path, make_events):
    from tamis.events import Events, write_events

    events = make_events(50)
    met = events["MET_pt"].to_numpy().copy()
    met[[3, 30]] = np.nan
    columns = {name: events[name] for name in events.array.fields}
    write_events(tmp_path / "a.root", Events.of({**columns, "MET_pt": met}))
    menu = Menu(
        menu="nan",
        paths={"met": PathSpec(steps=("MET_pt > 60",)), "jets": PathSpec(steps=("count(Jet_pt > 0) >= 0",))},
        streams={"all": StreamSpec(paths=("met", "jets"))},
    )
    summary = run_menu(menu_of(menu), [tmp_path / "a.root"], tmp_path / "out")
    assert summary.counts.reasons == {"undecided": 2}
    assert summary.counts.accepted == 48


def test_stages_that_break_their_contract_are_reported(tmp_path, event_file):
    @stage(reads=["MET_pt"], adds=["double"])
    def doubled(events):
        if len(events) == 1 and events["MET_pt"][0] < 50:
            return {"double": events["MET_pt"] * 2}
        if len(events) == 1:
            events["MET_pt"][0] = 0.0
        return {"double": np.zeros(len(events) + 1)}

    menu = Menu(
        menu="contract",
        paths={"double": PathSpec(steps=("double > 0",))},
        streams={"all": StreamSpec(paths=("double",))},
    )
    path = event_file("a.root", 100)
    summary = run_menu(menu_of(menu), [path], tmp_path / "out", plugged={"doubled": doubled})
    debug = next(iter(read_events(tmp_path / "out" / "debug.root"))).events
    assert summary.counts.accepted + summary.counts.debug == 100
    assert set(debug["debug_stage"].to_list()) == {"doubled"}
    assert all("read-only" in message for message in debug["debug_message"].to_list())


def test_invalid_calls_are_rejected_before_the_first_event(menu_file, event_file, tmp_path, make_events):
    path = event_file("a.root", 10)
    menu_file.write_text(menu_file.read_text().replace("MET_pt > 60", "MET_pT > 60"))
    with pytest.raises(
        MissingColumnError,
        match=r"a.root has no column 'MET_pT', which 'MET_pT > 60' reads; did you mean 'MET_pt'",
    ):
        run_menu(load_menu(menu_file), [path], tmp_path / "out")
    menu_file.write_text(menu_file.read_text().replace("MET_pT > 60", "MET_pt > 60"))
    run_menu(load_menu(menu_file), [path], tmp_path / "out2")
    with pytest.raises(UsageError, match="holds a finished run"):
        run_menu(load_menu(menu_file), [path], tmp_path / "out2")
    assert run_menu(load_menu(menu_file), [path], tmp_path / "out2", resume=True).counts.entered == 10


def test_the_time_account_adds_up(menu_file, event_file, tmp_path):
    summary = run_menu(load_menu(menu_file), [event_file("a.root", 2000)], tmp_path / "out")
    lines = account(summary)
    assert sum(line.total_ns for line in lines) == summary.wall_ns * summary.workers
    assert {"kinematics", "mine", "writing", "starting"} <= {line.label for line in lines}
    assert all(line.total_ns >= 0 for line in lines)
    written = json.loads((tmp_path / "out" / "run.json").read_text())
    assert written["counts"]["entered"] == 2000
    resumed = account(summary.model_copy(update={"wall_ns": 1}))  # earlier sessions did the work
    assert min(line.total_ns for line in resumed) >= 0
    assert sum(line.share for line in resumed) == pytest.approx(1)


@pytest.mark.parametrize("mode", ["batch", "event"])
def test_one_off_work_is_no_time_per_event(menu_file, event_file, tmp_path, monkeypatch, mode):
    """The loop over the steps is compiled with an empty cache: that belongs to the start of the run, not to its events."""
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "cache"))
    loop._compiled.cache_clear()
    load_module.cache_clear()
    summary = run_menu(load_menu(menu_file), [event_file("a.root", 200)], tmp_path / "out", mode=mode)
    lines = {line.label: line for line in account(summary)}
    one_off = {label for label, line in lines.items() if line.part == "one-off"}
    assert one_off == {"starting", "planning", "joining streams", "beginning and ending units", "other"}
    assert not [
        label for label in one_off if lines[label].events or lines[label].mean_ns == lines[label].mean_ns
    ]
    assert lines["between the steps"].events == 200
    assert sum(line.total_ns for line in lines.values()) == summary.wall_ns
    if mode == "event":
        assert list((tmp_path / "cache").rglob("tamis_loop.so"))
        for label in ("between the steps", "beginning and ending units"):
            assert lines[label].total_ns < lines["starting"].total_ns


@pytest.mark.parametrize("mode", ["batch", "event"])
def test_a_histogram_counts_only_events_that_reach_its_stage(tmp_path, event_file, make_events, mode):
    menu = Menu.model_validate(
        {
            "menu": "late",
            "micro_batch": 64,
            "stages": {"jets": {"define": {"n_jets": "count(Jet_pt > 30)"}}},
            "paths": {"late": {"steps": ["MET_pt > 60", "n_jets >= 2"]}},
            "streams": {"late": {"paths": ["late"]}},
            "histograms": {"n_jets": {"of": "n_jets", "bins": 10, "low": -0.5, "high": 9.5}},
        }
    )
    found = run_menu(menu_of(menu), [event_file("a.root", 500)], tmp_path / "out", mode=mode)
    events = make_events(500)
    late = events["MET_pt"].to_numpy() > 60
    jets = ak.to_numpy(ak.sum(events["Jet_pt"] > 30, axis=1))[late]
    assert list(found.histograms["n_jets"].counts) == np.histogram(jets, 10, (-0.5, 9.5))[0].tolist()


def test_units_begin_at_clusters():
    even = InputFile(url="a", entries=1000, clusters=(0, 250, 500, 750))
    assert list(even.ranges(300)) == [(0, 250), (250, 500), (500, 750), (750, 1000)]
    assert list(even.ranges(200)) == [(0, 250), (250, 500), (500, 750), (750, 1000)]
    assert list(InputFile(url="a", entries=70).ranges(30)) == [(0, 30), (30, 60), (60, 70)]
    for size in (1, 7, 49, 90, 251, 5000):
        for clusters in ((), (0,), (0, 3, 10, 400, 999), tuple(range(1000))):
            ranges = list(InputFile(url="a", entries=1000, clusters=clusters).ranges(size))
            assert [a for a, _ in ranges] == [0, *(b for _, b in ranges[:-1])]
            assert ranges[-1][1] == 1000
            assert all(0 < b - a <= 2 * size for a, b in ranges)


def test_units_do_not_depend_on_workers_and_are_small_at_the_end(
    menu_file, event_file, tmp_path, content, monkeypatch
):
    monkeypatch.setattr("tamis.trigger.run.planning.UNIT_EVENTS_LEAST", 50)
    files = [event_file("a.root", 4000), event_file("b.root", 900, seed=2)]
    run_menu(load_menu(menu_file), files, tmp_path / "one")
    run_menu(load_menu(menu_file), files, tmp_path / "two", workers=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    plan = json.loads((tmp_path / "two" / "plan.json").read_text())
    assert plan == json.loads((tmp_path / "one" / "plan.json").read_text())
    assert plan["fine_events"] == 4900 // 8
    sizes = [unit.stop - unit.start for unit in RunPlan.model_validate(plan).units()]
    assert sum(sizes) == 4900
    assert max(sizes[-3:]) < 0.6 * sizes[0]
