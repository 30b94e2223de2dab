"""Golden JSON in and out: events outside the mask are counted and not decided; processed blocks are listed."""

import json

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest

from tamis._base import DataError, UsageError
from tamis.events import Events, read_events, read_lumi_mask, write_events
from tamis.events.lumi_mask import in_mask, lumi_ranges
from tamis.trigger import Menu, menu_of, run_menu

MENU = menu_of(
    Menu.model_validate(
        {
            "menu": "m",
            "paths": {"p": {"steps": ["MET_pt > 20"]}},
            "streams": {"s": {"paths": ["p"], "keep": ["MET_pt"], "format": "parquet"}},
        }
    )
)
RUN = np.repeat([355100, 355101, 7], 40)
BLOCK = np.tile(np.repeat([1, 2, 3, 5], 10), 3)
GOLDEN = {"355100": [[1, 2], [5, 9]], "355101": [[3, 3]]}


@pytest.fixture
def file(tmp_path):
    met = np.arange(120, dtype=np.float32)
    events = Events.of({"run": RUN, "luminosityBlock": BLOCK, "event": np.arange(120), "MET_pt": met})
    write_events(tmp_path / "in.root", events)
    return tmp_path / "in.root"


@pytest.fixture
def golden(tmp_path):
    path = tmp_path / "golden.json"
    path.write_text(json.dumps(GOLDEN))
    return path


def expected():
    return np.array(
        [
            (r, b) in {(355100, 1), (355100, 2), (355100, 5), (355101, 3)}
            for r, b in zip(RUN, BLOCK, strict=True)
        ]
    )


@pytest.mark.parametrize(
    "options", [{}, {"mode": "event"}, {"unit_events": 7}, {"workers": 2, "unit_events": 20}]
)
def test_only_events_of_good_blocks_are_decided(options, file, golden, tmp_path):
    summary = run_menu(MENU, [file], tmp_path / "out", lumi_mask=read_lumi_mask(golden), **options)
    good = expected()
    counts = summary.counts
    assert (counts.entered, counts.masked) == (120, int((~good).sum()))
    assert counts.accepted == int((good & (np.arange(120) > 20)).sum())
    decided = pq.read_table(tmp_path / "out" / "decisions.parquet")
    assert decided["event"].to_pylist() == np.flatnonzero(good).tolist()
    assert (
        pq.read_table(tmp_path / "out" / "s.parquet")["event"].to_pylist()
        == np.flatnonzero(good & (np.arange(120) > 20)).tolist()
    )
    assert json.loads((tmp_path / "out" / "lumis.json").read_text()) == {
        "355100": [[1, 2], [5, 5]],
        "355101": [[3, 3]],
    }
    assert "80 outside the luminosity mask" in summary.outcomes


def test_events_of_good_blocks_keep_their_lists(golden, tmp_path):
    jets = ak.Array([[float(n)] * (n % 4) for n in range(120)])
    events = Events.of({"run": RUN, "luminosityBlock": BLOCK, "event": np.arange(120), "Jet_pt": jets})
    write_events(tmp_path / "in.root", events)
    document = {
        "menu": "lists",
        "paths": {"p": {"steps": ["any(Jet_pt > 20)"]}},
        "streams": {name: {"paths": ["p"], "format": name} for name in ("root", "parquet")},
    }
    menu = menu_of(Menu.model_validate(document))
    run_menu(menu, [tmp_path / "in.root"], tmp_path / "out", lumi_mask=read_lumi_mask(golden))
    wanted = jets[expected() & ak.to_numpy(ak.any(jets > 20, axis=1))].to_list()
    assert len(wanted) == 15
    for name in ("root.root", "parquet.parquet"):
        found = [chunk.events["Jet_pt"] for chunk in read_events(tmp_path / "out" / name)]
        assert ak.concatenate(found).to_list() == wanted


def test_the_list_of_processed_blocks_is_a_mask_that_selects_the_same(file, golden, tmp_path):
    first = run_menu(MENU, [file], tmp_path / "a", lumi_mask=read_lumi_mask(golden))
    second = run_menu(MENU, [file], tmp_path / "b", lumi_mask=read_lumi_mask(tmp_path / "a" / "lumis.json"))
    assert first.counts == second.counts
    without = run_menu(MENU, [file], tmp_path / "c")
    assert without.counts.masked == 0
    assert json.loads((tmp_path / "c" / "lumis.json").read_text())["7"] == [[1, 3], [5, 5]]


def test_ranges_and_masks_agree_on_random_blocks():
    rng = np.random.default_rng(1)
    run, block = rng.integers(1, 5, 500), rng.integers(0, 60, 500)
    part = rng.uniform(size=500) < 0.3
    ranges = lumi_ranges(run[part], block[part])
    chosen = set(zip(run[part], block[part], strict=True))
    assert in_mask(ranges, run, block).tolist() == [pair in chosen for pair in zip(run, block, strict=True)]
    assert lumi_ranges(run[:0], block[:0]) == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ('{"a": [[1, 2]]}', "'a' is not a run number"),
        ('{"1": [[2, 1]]}', "wrong ranges"),
        ('{"1": [[1]]}', "wrong ranges"),
        ('{"1": [[1, "2"]]}', "wrong ranges"),
        ('{"1": 5}', "wrong ranges"),
    ],
)
def test_a_malformed_mask_is_refused(text, problem, tmp_path):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(UsageError, match=problem):
        read_lumi_mask(tmp_path / "bad.json")


def test_files_without_luminosity_blocks_and_other_masks_are_refused(file, golden, tmp_path):
    write_events(
        tmp_path / "plain.parquet",
        Events.of(
            {k: np.arange(3) for k in ("run", "luminosityBlock", "event")} | {"MET_pt": np.arange(3.0)}
        ),
    )
    table = pq.read_table(tmp_path / "plain.parquet").select(["event", "MET_pt"])
    pq.write_table(table, tmp_path / "plain.parquet")
    with pytest.raises(DataError, match="has no run and luminosityBlock, so a luminosity mask cannot select"):
        run_menu(MENU, [tmp_path / "plain.parquet"], tmp_path / "out", lumi_mask=read_lumi_mask(golden))
