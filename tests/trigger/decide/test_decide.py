"""Micro-batches and single events give bit-identical decisions, for random events and menus."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.events import Jagged, columns_of
from tamis.trigger import Menu, Outcome, Reason, compile_menu, menu_of, stage
from tamis.trigger.decide import Laps, decide_batch, decide_single
from tamis.trigger.decide.scatter import scatter

CONDITIONS = (
    "MET_pt > 40",
    "HT > 150",
    "count(Jet_pt > 30 and abs(Jet_eta) < 2.5) >= 2",
    "max(Jet_pt) > MET_pt",
    "any(good)",
    "ratio < 3",
    "sum(where(good, Jet_pt, 0)) > 50 or MET_pt > 100",
    "at(Jet_pt, 1, -1) > 20",
    "odd",
)


@stage(reads=["Jet_pt", "MET_pt"], adds=["odd"])
def odd(events):
    counts = events["Jet_pt"].counts
    if (counts == 5).any():
        raise RuntimeError("five jets")
    return {"odd": counts % 2 == 1}


@pytest.fixture(scope="module", autouse=True, params=["compiled", "plain"])
def loop_kind(request):
    """Use the compiled loop, then the one in Python."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "plain":
            patch.setattr("tamis.trigger.decide.loop._compiled", lambda: None)
        yield request.param


def menu_with(paths, prescales):
    return Menu.model_validate(
        {
            "menu": "drawn",
            "stages": {
                "objects": {"define": {"HT": "sum(Jet_pt)", "good": "Jet_pt > 30 and abs(Jet_eta) < 2"}},
                "shape": {"define": {"ratio": "HT / MET_pt"}},
            },
            "paths": {
                f"p{i}": {"steps": list(steps), "prescale": prescale}
                for i, (steps, prescale) in enumerate(zip(paths, prescales, strict=True))
            },
            "streams": {"all": {"paths": [f"p{i}" for i in range(len(paths))]}},
            "histograms": {"ht": {"of": "HT", "low": 0, "high": 100}},
        }
    )


def same(left, right):
    if isinstance(left, Jagged):
        return np.array_equal(left.counts, right.counts) and np.array_equal(
            left.flat, right.flat, equal_nan=True
        )
    return np.array_equal(left, right, equal_nan=left.dtype.kind == "f")


def chosen(column, rows):
    return column.take(rows) if isinstance(column, Jagged) else column[rows]


@settings(max_examples=60, deadline=None)
@given(
    paths=st.lists(st.lists(st.sampled_from(CONDITIONS), min_size=1, max_size=4), min_size=1, max_size=4),
    prescales=st.lists(st.sampled_from([1, 1, 2, 7]), min_size=4, max_size=4),
    seed=st.integers(0, 50),
    bad=st.booleans(),
)
def test_both_modes_are_bit_identical(make_events_now, paths, prescales, seed, bad):
    events = make_events_now(60, seed=seed)
    columns = columns_of(events)
    if bad:
        met = columns["MET_pt"].copy()
        met[::11] = np.nan
        columns["MET_pt"] = met
    with compile_menu(menu_of(menu_with(paths, prescales[: len(paths)])), {"mine": odd}) as compiled:
        one = decide_single(compiled.program, columns, 60, Laps())
        many = decide_batch(compiled.program, columns, 60, Laps())
    assert np.array_equal(one.paths, many.paths)
    assert np.array_equal(one.reason, many.reason)
    assert np.array_equal(one.outcome, many.outcome)
    kept = one.outcome == Outcome.ACCEPTED  # columns added to debug events are not written
    for name in one.added:
        rows = np.flatnonzero(kept)
        left, right = one.added[name], many.added[name]
        assert same(chosen(left, rows), chosen(right, rows)), name
    assert same(one.added["HT"], many.added["HT"]) if "HT" in one.added else True


@pytest.fixture(scope="module")
def make_events_now():
    import awkward as ak

    from tamis.events import Events

    def make(count, seed):
        rng = np.random.default_rng(seed)
        jets = rng.integers(0, 6, count)
        return Events.of(
            {
                "run": np.ones(count, np.uint32),
                "luminosityBlock": np.ones(count, np.uint32),
                "event": np.arange(count, dtype=np.uint64),
                "Jet_pt": ak.unflatten(rng.exponential(60, jets.sum()).astype("f4"), jets),
                "Jet_eta": ak.unflatten(rng.normal(0, 2, jets.sum()).astype("f4"), jets),
                "MET_pt": rng.exponential(40, count).astype("f4"),
            }
        )

    return make


def test_a_stage_gets_only_events_that_a_path_still_needs(make_events_now):
    seen = []

    @stage(reads=["MET_pt", "event"], adds=["seen"])
    def watching(events):
        seen.extend(events["event"].tolist())
        return {"seen": np.ones(len(events), bool)}

    menu = Menu.model_validate(
        {
            "menu": "early",
            "paths": {"a": {"steps": ["MET_pt > 80", "seen"]}, "b": {"steps": ["MET_pt < 5", "seen"]}},
            "streams": {"all": {"paths": ["a", "b"]}},
        }
    )
    columns = columns_of(make_events_now(200, seed=4))
    met = columns["MET_pt"]
    wanted = np.flatnonzero((met > 80) | (met < 5)).tolist()
    with compile_menu(menu_of(menu), {"watching": watching}) as compiled:
        for decide in (decide_batch, decide_single):
            seen.clear()
            decide(compiled.program, columns, 200, Laps())
            assert seen == wanted


def test_a_prescale_is_reproducible_and_independent_of_others(make_events_now):
    menu = menu_with([["MET_pt > 0"], ["MET_pt > 0"]], [4, 4])
    columns = columns_of(make_events_now(4000, seed=1))
    with compile_menu(menu_of(menu), {"mine": odd}) as compiled:
        found = decide_batch(compiled.program, columns, 4000, Laps())
        again = decide_batch(compiled.program, columns, 4000, Laps())
    assert np.array_equal(found.paths, again.paths)
    assert found.paths.mean(axis=0) == pytest.approx([0.25, 0.25], abs=0.03)
    assert (found.paths[:, 0] & found.paths[:, 1]).mean() == pytest.approx(1 / 16, abs=0.02)


def test_debug_overrides_accepted(make_events_now):
    menu = menu_with([["MET_pt > 0"], ["odd"]], [1, 1])
    columns = columns_of(make_events_now(100, seed=2))
    with compile_menu(menu_of(menu), {"mine": odd}) as compiled:
        found = decide_single(compiled.program, columns, 100, Laps())
    five = columns["Jet_pt"].counts == 5
    assert five.any()
    assert np.array_equal(found.outcome == Outcome.DEBUG, five)
    assert set(found.reason[five]) == {Reason.RAISED}
    assert not found.paths[five].any()


def test_lists_of_objects_send_the_event_to_debug(make_events_now):
    @stage(reads=["Jet_pt"], adds=["notes"])
    def notes(events):
        pt = events["Jet_pt"]
        return {"notes": Jagged(pt.offsets - pt.offsets[0], np.array([None] * len(pt.flat), object))}

    menu = Menu.model_validate(
        {"menu": "notes", "paths": {"a": {"steps": ["notes"]}}, "streams": {"all": {"paths": ["a"]}}}
    )
    columns = columns_of(make_events_now(5, seed=2))
    with compile_menu(menu_of(menu), {"mine": notes}) as compiled:
        for decide in (decide_batch, decide_single):
            found = decide(compiled.program, columns, 5, Laps())
            assert set(found.reason) == {Reason.RAISED}
            assert "lists of object" in found.message[0]


def test_time_budgets_of_events_and_paths(make_events_now):
    import time

    @stage(reads=["event"], adds=["slow"])
    def slow(events):
        time.sleep(0.05 * float((events["event"] % 10 == 3).sum()))
        return {"slow": np.ones(len(events), bool)}

    columns = columns_of(make_events_now(40, seed=2))
    for limits in ({"budget": "30ms"}, {"paths": {"a": {"steps": ["slow"], "budget": "30ms"}}}):
        menu = Menu.model_validate(
            {
                "menu": "slow",
                "paths": {"a": {"steps": ["slow"]}},
                "streams": {"all": {"paths": ["a"]}},
                **limits,
            }
        )
        with compile_menu(menu_of(menu), {"slowly": slow}) as compiled:
            found = decide_single(compiled.program, columns, 40, Laps())
        assert np.flatnonzero(found.reason == Reason.TIME_OUT).tolist() == [3, 13, 23, 33]


@given(st.data())
def test_scattered_pieces_are_in_the_right_rows(data):
    events = data.draw(st.integers(1, 12))
    owner = data.draw(st.lists(st.integers(0, 2), min_size=events, max_size=events))
    lists = [data.draw(st.lists(st.integers(0, 9), max_size=3)) for _ in range(events)]
    pieces = []
    for part in (1, 2):
        rows = np.array([i for i in range(events) if owner[i] == part], np.int64)
        if len(rows):
            offsets = np.cumsum([0, *(len(lists[i]) for i in rows)])
            pieces.append((rows, Jagged(offsets, np.array([v for i in rows for v in lists[i]], np.int64))))
    if not pieces:
        return
    found = scatter(events, pieces)
    expected = [lists[i] if owner[i] else [] for i in range(events)]
    assert [found.row(i).flat.tolist() for i in range(events)] == expected
