"""The files of streams, column by column, for inputs with columns of all types."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from tamis._base import DataError, UsageError
from tamis.events import Events, read_events, write_events
from tamis.trigger import Menu, load_menu, menu_of, run_menu, stage

ACCEPTED = 20  # GeV of MET


def menu(**streams):
    paths = {"met": {"steps": [f"MET_pt > {ACCEPTED}"]}}
    named = {name: {"paths": ["met"], **spec} for name, spec in streams.items()}
    return menu_of(Menu.model_validate({"menu": "streams", "paths": paths, "streams": named}))


def identity(events, first=0):
    """Return the identity and MET of some events, of which every third is not accepted."""
    return {
        "run": np.full(events, 1, np.uint32),
        "luminosityBlock": np.ones(events, np.uint32),
        "event": np.arange(first, first + events, dtype=np.uint64) + np.uint64(2**63),
        "MET_pt": np.where(np.arange(events) % 3, 50, 10).astype(np.float32),
    }


def read(path):
    return Events.concatenate([chunk.events for chunk in read_events(path)])


@pytest.mark.parametrize("keep", [["Muon_*", "LHEPdfWeight", "HLT_Iso*", "SV_*"], "all"])
def test_nanoaod_is_unchanged_in_streams(real_file, tmp_path, keep):
    path = real_file("nano_dy.root")
    summary = run_menu(
        menu(tree={"keep": keep}, table={"keep": keep, "format": "parquet"}), [path], tmp_path / "out"
    )
    assert summary.left_out == ()
    table = pq.read_table(tmp_path / "out" / "table.parquet")
    with uproot.open(path) as source, uproot.open(tmp_path / "out" / "tree.root") as made:
        old, new = source["Events"], made["Events"]
        rows = np.flatnonzero(old["MET_pt"].array() > ACCEPTED)
        assert new.num_entries == len(rows) == len(table) == 24
        names = set(new.keys()) - {"HLT_met", "HLT_met_prescale"}
        assert names <= set(old.keys())
        assert len(names) > 1490 if keep == "all" else 30 < len(names) < 100
        wanted, found = old.arrays(list(names), how=dict), new.arrays(list(names), how=dict)
        counters = {branch.count_branch.name for branch in old.branches if branch.count_branch is not None}
        for name in sorted(names):
            if name in counters and new[name].typename == "int32_t":  # uproot writes counters as int32
                assert found[name].to_list() == wanted[name][rows].to_list()
                continue
            assert ak.array_equal(wanted[name][rows], found[name], equal_nan=True, check_parameters=False), (
                name
            )
            counts = old[name].count_branch
            if counts is not None:
                assert new[name].count_branch.name == counts.name
                assert new[counts.name].array().to_list() == ak.num(found[name]).to_list()
            assert new[name].typename == old[name].typename
            if name in table.column_names:
                assert (
                    ak.array_equal(ak.from_arrow(table[name]), found[name], equal_nan=True)
                    or table[name].null_count
                )
        assert all(name in table.column_names for name in names if not name.startswith("n"))


def test_an_empty_stream_has_all_columns(menu_file, event_file, tmp_path, make_events):
    text = menu_file.read_text()
    for cut in ("MET_pt > 60", "HT > 200", "spread > 50"):
        text = text.replace(cut, f"{cut}0000")
    menu_file.write_text(text)
    summary = run_menu(load_menu(menu_file), [event_file("a.root", 300)], tmp_path / "out")
    assert summary.counts.streams["jets"] == summary.counts.streams["met"] == 0
    assert summary.outputs["jets"] == "jets.root"
    assert "debug" not in summary.outputs
    with uproot.open(tmp_path / "out" / "jets.root") as file:
        tree = file["Events"]
        assert tree.num_entries == 0
        assert {"run", "event", "nJet", "Jet_pt", "MET_pt", "HLT_hard", "HLT_hard_prescale"} <= set(
            tree.keys()
        )
        assert tree["Jet_pt"].count_branch is tree["nJet"]
        assert tree["Jet_pt"].typename == "float[]"
    table = pq.read_table(tmp_path / "out" / "met.parquet")
    assert len(table) == 0
    assert {"run", "MET_pt", "Jet_pt", "Jet_eta", "HLT_met"} <= set(table.column_names)
    assert len(read(tmp_path / "out" / "jets.root")) == 0


def odd_columns(n):
    """Return columns of many types, and the type of each in Parquet and in ROOT (None: left out)."""
    half = n // 2
    jets = pa.list_(pa.int32())
    return {
        "u1": (pa.array(np.full(n, 200, "u1")), "uint8", "uint8"),
        "i1": (pa.array(np.full(n, -3, "i1")), "int8", "int8"),
        "u8": (pa.array(np.full(n, 2**64 - 1, "u8")), "uint64", "uint64"),
        "flag": (pa.array([True, False] * half), "bool", "bool"),
        "half": (pa.array(np.arange(n).astype("f2")), "float16", "float32"),
        "text": (pa.array(["é", "x" * 300] * half), "string", "string"),
        "rows": (pa.array([[1.0, 2.0]] * n, pa.list_(pa.float64(), 2)), "2 * float64", "2 * float64"),
        "matrix": (
            pa.array([[[1, 2], [3, 4], [5, 6]]] * n, pa.list_(pa.list_(pa.int32(), 2), 3)),
            "3 * 2 * int32",
            "3 * 2 * int32",
        ),
        "A_big": (pa.array([[2**64 - 1], []] * half, pa.list_(pa.uint64())), "var * uint64", "var * uint64"),
        "A_flag": (pa.array([[True], []] * half), "var * bool", "var * bool"),
        "empty": (pa.array([[]] * n, pa.list_(pa.float32())), "var * float32", "var * float32"),
        "nested": (pa.array([[[1], [2, 3]], []] * half), "var * var * int64", None),
        "pairs": (
            pa.array([[[1, 2]], []] * half, pa.list_(pa.list_(pa.int32(), 2))),
            "var * 2 * int32",
            None,
        ),
        "texts": (pa.array([["a", "b"], []] * half), "var * string", None),
        "bytes": (pa.array([b"a\xff", b""] * half), "bytes", None),
        "date": (pa.array([dt.date(2026, 1, 1)] * n), "datetime64[D]", None),
        "gaps": (pa.array([1] * (n - 1) + [None], pa.int32()), "?int32", None),  # only in the last unit
        "unsure": (pa.array([True, None] * half), "?bool", None),
        "missing_text": (pa.array(["a"] * (n - 1) + [None]), "?string", None),
        "holes": (pa.array([[1, None], []] * half, jets), "var * ?int32", None),
        "absent": (pa.array([[1], None] * half, jets), "option[var * ?int32]", None),
        "nothing": (pa.nulls(n), "?unknown", None),
    }


@pytest.mark.parametrize("column", [*odd_columns(2), "all of them"])
def test_columns_of_all_types_are_joined(tmp_path, column):
    n = 60
    odd = odd_columns(n)
    chosen = odd if column == "all of them" else {column: odd[column]}
    path = tmp_path / "in.parquet"
    pq.write_table(
        pa.table({**identity(n), **{name: values for name, (values, _, _) in chosen.items()}}), path
    )
    streams = menu(tree={}, table={"format": "parquet"})
    summary = run_menu(streams, [path], tmp_path / "out", unit_events=7)
    rows = np.flatnonzero(np.arange(n) % 3)
    left_out = [name for name, (_, _, root) in chosen.items() if root is None]
    reported = [name for entry in summary.left_out for name in entry.removeprefix("tree.root: ").split(", ")]
    assert sorted(reported) == sorted(left_out)
    tree, table = read(tmp_path / "out" / "tree.root"), read(tmp_path / "out" / "table.parquet")
    for name, (values, in_parquet, in_root) in chosen.items():
        expected = values.take(pa.array(rows)).to_pylist()
        assert str(table[name].type.content) == in_parquet
        assert table[name].to_list() == expected
        if in_root is None:
            assert name not in tree
        else:
            assert str(tree[name].type.content) == in_root
            assert tree[name].to_list() == expected
    assert tree["event"].to_list() == [int(row) + 2**63 for row in rows]


def test_missing_floats_are_nan_in_both_formats(tmp_path):
    values = pa.array([1.0, None] * 30, pa.float32())
    pq.write_table(pa.table({**identity(60), "x": values}), tmp_path / "in.parquet")
    run_menu(
        menu(tree={}, table={"format": "parquet"}), [tmp_path / "in.parquet"], tmp_path / "out", unit_events=7
    )
    for name in ("tree.root", "table.parquet"):
        found = read(tmp_path / "out" / name)["x"]
        assert str(found.type.content) == "float32"
        assert np.isnan(found).to_list() == [row % 2 == 1 for row in range(60) if row % 3]


def test_lists_of_one_prefix_may_differ_in_length(tmp_path):
    """`jet_pt` and `jet_trk_pt` share a prefix, but not their objects; `njet` may differ from both."""
    n = 60
    moved = (np.arange(n) == 50).astype(int) - (np.arange(n) == 51)  # late, with the same total
    lists = {
        "jet_pt": ak.unflatten(np.arange(2 * n, dtype="f4"), np.full(n, 2)),
        "jet_eta": ak.unflatten(np.arange(2 * n, dtype="f4"), np.full(n, 2)),
        "jet_trk_pt": ak.unflatten(np.arange(3 * n, dtype="f4"), 3 + moved),
        "muon_pt": ak.unflatten(np.arange(n, dtype="f4"), np.full(n, 1)),
        "muon_late": ak.unflatten(np.arange(n, dtype="f4"), 1 + moved),
        "nmuon": np.full(n, 7, np.int32),
        "tau_pt": ak.unflatten(np.arange(n, dtype="f4"), np.full(n, 1)),
        "ntau": np.full(n, 1, np.int32),
    }
    events = Events.of({**identity(n), **lists})
    write_events(tmp_path / "in.parquet", events)
    run_menu(menu(tree={}), [tmp_path / "in.parquet"], tmp_path / "out", unit_events=7)
    found = read(tmp_path / "out" / "tree.root")
    rows = np.flatnonzero(np.arange(n) % 3)
    for name in lists:
        if name != "ntau":
            assert found[name].to_list() == events[name][rows].to_list(), name
    with uproot.open(tmp_path / "out" / "tree.root") as file:
        tree = file["Events"]
        counters = {name: tree[name].count_branch.name for name in lists if not name.startswith("n")}
        assert tree["ntau"].array().to_list() == [1] * len(rows)
    assert counters == {
        "jet_pt": "njet",
        "jet_eta": "njet",
        "jet_trk_pt": "njet_trk_pt",
        "muon_pt": "nmuon_pt",
        "muon_late": "nmuon_late",
        "tau_pt": "ntau",
    }


def test_a_list_of_a_stage_may_have_the_prefix_of_another(tmp_path):
    @stage(reads=["Jet_pt"], adds=["Jet"])
    def hard(events):
        jets = events["Jet_pt"]
        pt = ak.unflatten(jets.flat, jets.counts)
        return {"Jet": pt[pt > 5]}

    n = 30
    jets = ak.unflatten(np.arange(2 * n, dtype="f4") % 10, np.full(n, 2))
    write_events(tmp_path / "in.root", Events.of({**identity(n), "Jet_pt": jets}))
    spec = {
        "menu": "added",
        "paths": {"met": {"steps": [f"MET_pt > {ACCEPTED}", "count(Jet) >= 0"]}},
        "streams": {"tree": {"paths": ["met"]}},
    }
    run_menu(
        menu_of(Menu.model_validate(spec)), [tmp_path / "in.root"], tmp_path / "out", plugged={"hard": hard}
    )
    found = read(tmp_path / "out" / "tree.root")
    rows = np.flatnonzero(np.arange(n) % 3)
    assert found["Jet_pt"].to_list() == jets[rows].to_list()
    assert found["Jet"].to_list() == jets[rows][jets[rows] > 5].to_list()


def test_inputs_with_different_columns_go_to_separate_files(tmp_path):
    extra = {"x": np.arange(30, dtype=np.float32), "y": np.arange(30)}
    turned = {"y": extra["y"], "x": extra["x"]}
    for number, columns in enumerate((extra, {"x": extra["x"]}, turned)):
        write_events(tmp_path / f"{number}.root", Events.of({**identity(30, 100 * number), **columns}))
    files = [tmp_path / f"{number}.root" for number in range(3)]
    summary = run_menu(menu(tree={}), files, tmp_path / "out", unit_events=7)
    assert summary.outputs == {"decisions": "decisions.parquet", "tree": "tree.root", "tree-2": "tree-2.root"}
    both, alone = read(tmp_path / "out" / "tree.root"), read(tmp_path / "out" / "tree-2.root")
    rows = np.flatnonzero(np.arange(30) % 3)
    assert both["y"].to_list() == [*rows, *rows]  # the order of the columns does not matter
    assert [event - 2**63 for event in both["event"].to_list()] == [*rows, *(rows + 200)]
    assert "y" not in alone
    assert alone["x"].to_list() == rows.tolist()


def test_many_small_units_make_one_basket(tmp_path):
    n = 2000
    lists = ak.unflatten(np.arange(2 * n, dtype="f4"), np.full(n, 2))
    write_events(tmp_path / "in.root", Events.of({**identity(n), "Jet_pt": lists}))
    run_menu(
        menu(tree={}, table={"format": "parquet"}), [tmp_path / "in.root"], tmp_path / "out", unit_events=5
    )
    rows = np.flatnonzero(np.arange(n) % 3)
    with uproot.open(tmp_path / "out" / "tree.root") as file:
        assert file["Events"]["Jet_pt"].array().to_list() == lists[rows].to_list()
        assert list(file["Events"]["Jet_pt"].entry_offsets) == [0, len(rows)]
    with pq.ParquetFile(tmp_path / "out" / "table.parquet") as file:
        assert file.num_row_groups == 1
        assert file.read(columns=["Jet_pt"])["Jet_pt"].to_pylist() == lists[rows].to_list()


def stopped_before_joining(source, files, out):
    """Process all units, and fail when the file of the stream should be written."""
    blocked = out / f"tree.{source.menu.streams['tree'].format}"
    blocked.mkdir(parents=True)
    with pytest.raises(UsageError, match="it is a folder"):
        run_menu(source, files, out, unit_events=200)
    assert list((out / "units").glob("0*"))
    blocked.rmdir()


@pytest.mark.parametrize("kind", ["root", "parquet"])
def test_a_part_with_a_wrong_checksum_is_reported(tmp_path, kind):
    write_events(tmp_path / "in.root", Events.of(identity(600)))
    source = menu(tree={"format": kind})
    stopped_before_joining(source, [tmp_path / "in.root"], tmp_path / "out")
    part = tmp_path / "out" / "units" / "0000001" / "stream-tree.arrow"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    with pytest.raises(DataError, match=r"units/0000001/stream-tree\.arrow was changed after it was written"):
        run_menu(source, [tmp_path / "in.root"], tmp_path / "out", resume=True)
    for file in part.parent.iterdir():
        file.unlink()
    part.parent.rmdir()
    assert run_menu(source, [tmp_path / "in.root"], tmp_path / "out", resume=True).counts.accepted == 400


@pytest.mark.parametrize("kind", ["root", "parquet"])
def test_a_run_resumes_after_a_full_disk_while_joining(tmp_path, kind, content):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", small]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small file system needs the right to mount")
    rng = np.random.default_rng(1)
    noise = {f"x{i}": rng.normal(size=3000) for i in range(20)}
    write_events(tmp_path / "in.root", Events.of({**identity(3000), **noise}))
    source = menu(tree={"format": kind})
    (tmp_path / "menu.yaml").write_text(source.text)
    try:
        out = small / "out"
        calm = run_menu(source, [tmp_path / "in.root"], tmp_path / "calm", unit_events=200)
        stopped_before_joining(source, [tmp_path / "in.root"], out)
        free = os.statvfs(small)
        (small / "ballast").write_bytes(b"\0" * (free.f_bavail * free.f_frsize - 200_000))
        command = [sys.executable, "-m", "tamis", "run", tmp_path / "menu.yaml", tmp_path / "in.root"]
        command += ["-o", out, "--unit-events", "200", "--resume"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 1
        assert done.stderr.strip().splitlines() == [
            "tamis: the disk is full: the output was not written, and partial files were removed"
        ]
        assert not list(out.glob("*.part"))
        assert not list(out.glob(".*.part"))
        assert not list(out.glob("tree*"))
        (small / "ballast").unlink()
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert content(out) == content(tmp_path / "calm")
        assert calm.counts.accepted == 2000
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.parametrize("mode", ["batch", "event"])
def test_stream_may_name_columns_that_a_stage_adds(tmp_path, mode):
    write_events(tmp_path / "in.root", Events.of(identity(30)))
    document = {
        "menu": "named",
        "stages": {"scaled": {"define": {"half_met": "MET_pt / 2"}}},
        "paths": {"met": {"steps": ["half_met > 10"]}},
        "streams": {"met": {"paths": ["met"], "keep": ["half_met"]}},
    }
    run_menu(menu_of(Menu.model_validate(document)), [tmp_path / "in.root"], tmp_path / "out", mode=mode)
    events = read(tmp_path / "out" / "met.root")
    assert set(events.array.fields) >= {"half_met", "event"}
    assert "MET_pt" not in events.array.fields
    np.testing.assert_array_equal(events["half_met"], np.full(20, 25, np.float32))


def test_a_glob_may_match_columns_of_stages_alone_or_beside_those_of_the_file(real_file, tmp_path):
    document = {
        "menu": "globs",
        "stages": {"objects": {"define": {"my_met": "MET_pt * 2", "Jet_twice": "Jet_pt * 2"}}},
        "paths": {"met": {"steps": ["my_met > 40"]}},
        "streams": {"table": {"paths": ["met"], "keep": ["my_*", "Jet_*"], "format": "parquet"}},
    }
    run_menu(menu_of(Menu.model_validate(document)), [real_file("nano_dy.root")], tmp_path / "out")
    names = pq.read_schema(tmp_path / "out" / "table.parquet").names
    assert {"my_met", "Jet_twice", "Jet_pt", "Jet_mass"} <= set(names)


def test_decisions_have_the_same_columns_without_events(tmp_path):
    for name, events in (("some", 20), ("none", 0)):
        write_events(tmp_path / f"{name}.root", Events.of(identity(events)))
        run_menu(menu(tree={}), [tmp_path / f"{name}.root"], tmp_path / name)
    some, none = (pq.read_table(tmp_path / name / "decisions.parquet") for name in ("some", "none"))
    assert (some.num_rows, none.num_rows) == (20, 0)
    assert none.schema.equals(some.schema)
