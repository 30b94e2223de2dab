"""What `tamis run` reports about what it wrote and what it could not read or decide."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

MENU = """
menu: reported
paths:
  met: {steps: [MET_pt > 20]}
streams:
  tree: {paths: [met]}
  table: {paths: [met], format: parquet}
"""


def test_columns_that_a_tree_cannot_hold_are_reported(call, tmp_path):
    columns = {name: np.arange(40) for name in ("run", "luminosityBlock", "event", "MET_pt")}
    odd = {"nested": pa.array([[[1]]] * 40), "gaps": pa.array([None, 1] * 20)}
    pq.write_table(pa.table({**columns, **odd}), tmp_path / "in.parquet")
    (tmp_path / "menu.yaml").write_text(MENU)
    code, out, err = call(
        "run", tmp_path / "menu.yaml", tmp_path / "in.parquet", "-o", tmp_path / "out", "--json"
    )
    assert code == 0
    assert json.loads(out)["left_out"] == ["tree.root: nested, gaps"]
    assert "left out, as a ROOT tree cannot hold them: tree.root: nested, gaps" in err
    assert {"nested", "gaps"} <= set(pq.read_table(tmp_path / "out" / "table.parquet").column_names)


def test_a_lost_file_is_told_wherever_counts_are_shown(call, real_file, tmp_path):
    good, bad = real_file("nano_dy.root"), tmp_path / "bad.root"
    bad.write_bytes(good.read_bytes()[:3000])
    (tmp_path / "menu.yaml").write_text(MENU)
    code, out, err = call("run", tmp_path / "menu.yaml", good, bad, "-o", tmp_path / "out", "--page")
    assert code == 8
    assert out.startswith("40 events: ")
    assert "0 unreadable; 1 of 2 files could not be opened" in out
    assert "unreadable: " in err
    assert "bad.root" in err
    page = (tmp_path / "out" / "index.html").read_text()
    assert "1 of 2 files could not be opened" in page
    assert "truncated or corrupt" in page


def test_a_run_whose_events_mostly_went_to_debug_has_an_exit_code_of_its_own(call, real_file, tmp_path):
    (tmp_path / "stages.py").write_text(
        "from tamis.trigger import stage\n"
        "@stage(reads=['MET_pt'], adds=['x'])\n"
        "def broken(frame):\n"
        "    return {'x': 1 / (frame['MET_pt'] * 0).astype(int).item(0)}\n"
    )
    (tmp_path / "menu.yaml").write_text(
        "menu: m\nstages: {s: {python: 'stages.py:broken'}}\npaths: {p: {steps: [x > 1]}}\nstreams: {a: {paths: [p]}}\n"
    )
    code, out, err = call(
        "run", tmp_path / "menu.yaml", real_file("nano_dy.root"), "-o", tmp_path / "out", "--mode", "event"
    )
    assert code == 10
    assert "debug, 40 events: s: ZeroDivisionError" in out
    assert err.splitlines()[-1].startswith(
        "tamis: 40 of 40 events could not be decided and are in debug.root; the most frequent reason: s: ZeroDivisionError"
    )
    assert json.loads((tmp_path / "out" / "run.json").read_text())["messages"]


def test_all_files_of_a_stream_are_named(call, real_file, tmp_path):
    other = tmp_path / "other.parquet"
    ids = {name: np.arange(40) for name in ("run", "luminosityBlock", "event")}
    pq.write_table(pa.table({**ids, "MET_pt": np.full(40, 30.0)}), other)
    (tmp_path / "menu.yaml").write_text(MENU)
    code, out, _ = call(
        "run", tmp_path / "menu.yaml", real_file("nano_dy.root"), other, "-o", tmp_path / "out"
    )
    assert code == 0
    assert "tree.root, tree-2.root" in out
    assert "table.parquet, table-2.parquet" in out
    assert (tmp_path / "out" / "tree-2.root").is_file()
