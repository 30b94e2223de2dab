"""Flipped bytes in any column of a file, whether the menu reads it or a stream keeps it: no event is lost or counted twice."""

from __future__ import annotations

import json
import random

import pyarrow.parquet as pq
import pytest
import uproot

from tamis._base import DataError
from tamis.cli.app import _run
from tamis.events import IDENTITY, EventFile
from tamis.trigger import read_summary

FILES = ["nano_dy.root", "nano_dy_rntuple.root", "plain.root", "plain_rntuple.root"]
# a column of each type that NanoAOD has, for files that uproot writes without compression, and so without checksums
PLAIN = [
    "run",
    "luminosityBlock",
    "event",
    "MET_pt",
    "nJet",
    "Jet_pt",
    "Jet_jetId",
    "Muon_tightId",
    "HLT_IsoMu24",
    "LHEPdfWeight",
]
FLIPPED = 4  # bytes per damaged column


@pytest.fixture
def source(real_file, tmp_path):
    """Return a function that finds a file of 40 NanoAOD events, or writes one without compression."""

    def find(name):
        path = real_file("nano_dy.root" if name.startswith("plain") else name)
        if not name.startswith("plain"):
            return path
        with uproot.open(path) as file:
            events = file["Events"].arrays([column for column in PLAIN if column != "nJet"])
        with uproot.recreate(tmp_path / name, compression=None) as file:
            if name == "plain.root":
                columns = {column: events[column] for column in events.fields}
                kinds = {column: values.type.content for column, values in columns.items()}
                file.mktree("Events", kinds, counter_name=lambda column: f"n{column.split('_')[0]}_{column}")
                file["Events"].extend(columns)
            else:
                file.mkrntuple("Events", events)
        return tmp_path / name

    return find


def stored_at(path):
    """Return where the data of each column are: column -> [(offset, bytes)], one entry per basket or page."""
    with uproot.open(path) as file:
        tree = file["Events"]
        if not hasattr(tree, "page_link_list"):
            return {
                branch.name: list(
                    zip(branch.member("fBasketSeek"), branch.member("fBasketBytes"), strict=True)
                )[: branch.num_baskets]
                for branch in tree.branches
            }
        parents = [field.parent_field_id for field in tree.field_records]
        places = {}
        for pages in tree.page_link_list:
            for record, column in zip(tree.column_records, pages, strict=True):
                top = record.field_id
                while parents[top] != top:
                    top = parents[top]
                found = [(page.locator.offset, page.locator.num_bytes) for page in column.pages]
                places.setdefault(tree.field_records[top].field_name, []).extend(found)
        return places


def damage(path, target, columns, dice):
    """Write a copy in which some bytes are flipped in one basket or page of each of some columns."""
    data = bytearray(path.read_bytes())
    places = stored_at(path)
    for column in columns:
        offset, size = dice.choice([place for place in places[column] if place[1]])
        for _ in range(FLIPPED):
            data[offset + dice.randrange(size)] ^= dice.randrange(1, 256)
    target.write_bytes(data)


def run_and_check(tmp_path, menu, file):
    """Run a menu over a file of 40 events; check the exit code and the doors of all events, and return the summary."""
    (tmp_path / "menu.yaml").write_text(json.dumps(menu))
    out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
    code = _run(["run", str(tmp_path / "menu.yaml"), str(file), "-o", str(out), "--json"])
    summary = read_summary(out)
    unreadable = [entry for part in summary.unreadable for entry in range(part.start, part.stop)]
    assert code == (8 if unreadable else 0)
    decided = pq.read_table(out / "decisions.parquet").to_pydict()
    assert sorted([*decided["entry"], *unreadable]) == list(range(40))
    counts = summary.counts
    assert counts.balanced
    assert [decided["outcome"].count(door) for door in ("rejected", "accepted", "debug")] == [
        counts.rejected,
        counts.accepted,
        counts.debug,
    ]
    for stream, events in counts.streams.items():
        if stream in summary.outputs:
            path = out / summary.outputs[stream]
            found = pq.read_table(path) if path.suffix == ".parquet" else uproot.open(path)["Events"].arrays()
            assert len(found) == events
        else:
            assert (stream, events) == ("debug", 0)
    return summary


def keep_everything(reads="MET_pt"):
    """Return a menu that reads one column and keeps all columns of the events that it accepts."""
    steps = [f"{reads} > 20"]
    return {"menu": "m", "paths": {"p": {"steps": steps}}, "streams": {"s": {"paths": ["p"]}}}


def read_all_of(columns, path):
    """Return a menu that reads some columns, and keeps them."""
    with EventFile(str(path)) as file:
        lists = {column for column in columns if "*" in file.type_of(column)}
    steps = [f"count({c} == {c}) >= 0" if c in lists else f"{c} == {c}" for c in columns]
    streams = {"s": {"paths": ["p"], "keep": list(columns), "format": "parquet"}}
    return {"menu": "m", "paths": {"p": {"steps": steps}}, "streams": streams}


def keep_a_column_per_event(columns, numbers):
    """Return a menu with a path and a stream for each event, each stream keeping another column."""
    paths = {f"p{i}": {"steps": [f"event == {number}"]} for i, number in enumerate(numbers)}
    streams = {
        f"s{i}": {"paths": [f"p{i}"], "keep": [column], "format": "parquet" if i % 8 else "root"}
        for i, column in enumerate(columns)
    }
    return {"menu": "m", "paths": dict(list(paths.items())[: len(streams)]), "streams": streams}


def test_damage_in_a_kept_column_affects_only_streams_that_keep_it(real_file, tmp_path, capfd):
    damage(real_file("nano_dy.root"), tmp_path / "bad.root", ["GenPart_pt"], random.Random(0))
    menu = keep_everything()
    menu["paths"]["q"] = {"steps": ["MET_pt <= 20"]}
    menu["streams"]["t"] = {"paths": ["q"], "keep": ["MET_pt"], "format": "parquet"}
    summary = run_and_check(tmp_path, menu, tmp_path / "bad.root")
    assert (summary.counts.unreadable, summary.counts.streams) == (24, {"s": 0, "t": 16, "debug": 0})
    assert {part.reason.partition(":")[0] for part in summary.unreadable} == {"GenPart_pt"}
    assert "24 events could not be read; all other events are decided" in capfd.readouterr().err


def test_damage_in_the_first_events_does_not_end_the_run(real_file, tmp_path):
    damage(real_file("nano_dy_rntuple.root"), tmp_path / "bad.root", ["event"], random.Random(0))
    menu = read_all_of(["event"], tmp_path / "bad.root")
    assert run_and_check(tmp_path, menu, tmp_path / "bad.root").counts.unreadable == 40


@pytest.mark.parametrize("name", FILES)
def test_damage_in_a_sample_of_columns_loses_no_event(source, tmp_path, name):
    path, bad, dice = source(name), tmp_path / "bad.root", random.Random(1)
    stored = stored_at(path)
    for column in dice.sample([column for column in readable(path) if column in stored], 3):
        damage(path, bad, [column], dice)
        run_and_check(tmp_path, read_all_of([column], path), bad)
    run_and_check(tmp_path, keep_everything(), bad)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.nightly if name.startswith("nano") else ()) for name in FILES],
)
def test_damage_in_all_columns_loses_no_event(source, tmp_path, name):
    path, bad, dice = source(name), tmp_path / "bad.root", random.Random(2)
    numbers = uproot.open(path)["Events"]["event"].array().tolist()
    columns = [column for column in readable(path) if column not in IDENTITY]
    damage(path, bad, [column for column in stored_at(path) if column not in IDENTITY], dice)
    for first in range(0, len(columns), 40):
        some = columns[first : first + 40]
        summary = run_and_check(tmp_path, keep_a_column_per_event(some, numbers), bad)
        unreadable = {entry for part in summary.unreadable for entry in range(part.start, part.stop)}
        with EventFile(str(bad)) as file:
            assert unreadable == {i for i, column in enumerate(some) if not reads(file, column, i)}
    for column in [*IDENTITY, *(columns if name.startswith("plain") else [])]:
        damage(path, bad, [column], dice)
        run_and_check(tmp_path, read_all_of([column], path), bad)


def readable(path):
    with EventFile(str(path)) as file:
        return sorted(file.columns)


def reads(file, column, entry):
    try:
        return len(file.read([column], entry, entry + 1)) == 1
    except DataError:
        return False
