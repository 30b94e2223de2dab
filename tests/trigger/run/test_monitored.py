"""Rows for a monitor: the same as the decisions, each event once, whatever dies."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tamis._base import UsageError
from tamis.trigger import load_menu, run_menu
from tamis.trigger.run.monitored import bytes_of_rows


def rows_in(folder):
    """Return the rows of all files of a folder, in the order of their names."""
    paths = sorted(folder.iterdir())
    assert all(re.fullmatch(r"out-\d{7}\.parquet", path.name) for path in paths)
    return pa.concat_tables([pq.read_table(path) for path in paths])


@pytest.mark.parametrize("mode", ["batch", "event"])
def test_rows_are_those_of_the_decisions(menu_file, event_file, tmp_path, mode):
    path = event_file("a.root", 300, trouble={7: 1, 130: 1})
    menu = load_menu(menu_file)
    summary = run_menu(
        menu, [path], tmp_path / "out", unit_events=40, monitor=tmp_path / "watched", mode=mode
    )
    assert len(list((tmp_path / "watched").iterdir())) == 8
    rows, decisions = rows_in(tmp_path / "watched"), pq.read_table(tmp_path / "out" / "decisions.parquet")
    for name in ("run", "luminosityBlock", "event", "HLT_hard", "HLT_wide", "HLT_met"):
        assert rows[name].to_pylist() == decisions[name].to_pylist()
    outcome = decisions["outcome"].to_pylist()
    assert rows["accepted"].to_pylist() == [one == "accepted" for one in outcome]
    assert rows["debug"].to_pylist() == [one == "debug" for one in outcome]
    assert 0 < sum(rows["debug"].to_pylist()) <= 2
    stored = rows["stored_bytes"].to_numpy()
    assert ((stored > 0) == (np.array(outcome) != "rejected")).all()
    by_stream = {
        name: rows[name].to_numpy() for name in rows.column_names if name.startswith("stored_bytes_")
    }
    assert set(by_stream) == {f"stored_bytes_{name}" for name in ("jets", "met", "debug")}
    np.testing.assert_allclose(sum(by_stream.values()), stored, rtol=1e-5)
    assert ((by_stream["stored_bytes_debug"] > 0) == (np.array(outcome) == "debug")).all()
    assert (rows["time_us"].to_numpy() > 0).mean() > 0.9
    times = {name: rows[name].to_numpy() for name in rows.column_names if name.startswith(("stage_us_", "path_us_"))}  # fmt: skip
    stages, paths = (
        [name.removeprefix(kind) for name in times if name.startswith(kind)]
        for kind in ("stage_us_", "path_us_")
    )
    assert set(stages) == {"kinematics", "mine"}
    assert set(paths) == {"hard", "wide", "met"}
    np.testing.assert_allclose(
        sum(times.values()), rows["time_us"].to_numpy(), rtol=1e-4
    )  # of debug events, too
    for name, total in summary.times.items():
        if f"stage_us_{name}" in times:
            spent_us = times[f"stage_us_{name}"].astype(float).sum()
            assert spent_us == pytest.approx(total.total_ns / 1e3, rel=1e-3)
            assert total.events == (times[f"stage_us_{name}"] > 0).sum()
    assert rows["MET_pt"].to_numpy().std() > 10  # a number of each event that the menu reads
    assert "Jet_pt" not in rows.column_names


def test_rows_come_while_the_run_goes_on_and_are_each_there_once(menu_file, event_file, tmp_path):
    path = event_file("a.root", 2000)
    run_menu(
        load_menu(menu_file),
        [path],
        tmp_path / "calm" / "out",
        unit_events=40,
        monitor=tmp_path / "calm-rows",
    )
    dice = random.Random(3)
    command = [sys.executable, "-m", "tamis", "run", menu_file, path, "-o", tmp_path / "out", "--unit-events", "40", "--workers", "2", "--monitor", tmp_path / "rows"]  # fmt: skip
    seen: dict[str, bytes] = {}
    kills = 0
    while True:
        more = ["--resume"] if (tmp_path / "out" / "plan.json").is_file() else []
        process = subprocess.Popen(
            [*map(str, command), *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        goal = len(seen) + dice.randint(1, 20)
        while process.poll() is None and (
            kills == 3 or len(list((tmp_path / "rows").glob("*.parquet"))) < goal
        ):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        for file in (tmp_path / "rows").glob("*.parquet"):
            assert seen.setdefault(file.name, file.read_bytes()) == file.read_bytes()  # never written again
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, errors
        kills += 1
    assert kills > 0
    for file in (tmp_path / "rows").glob(".*"):
        file.unlink()  # of a killed writer
    found, calm = rows_in(tmp_path / "rows"), rows_in(tmp_path / "calm-rows")
    for name in ("event", "accepted", "debug", "HLT_hard", "stored_bytes"):
        assert found[name].to_pylist() == calm[name].to_pylist()


def test_rows_of_two_runs_do_not_mix(menu_file, event_file, tmp_path):
    menu, path = load_menu(menu_file), event_file("a.root", 50)
    run_menu(menu, [path], tmp_path / "out", monitor=tmp_path / "rows")
    run_menu(menu, [path], tmp_path / "out-2", monitor=tmp_path / "rows")
    with pytest.raises(UsageError, match="rows has rows of another run whose output was called out:"):
        run_menu(menu, [path], tmp_path / "again" / "out", monitor=tmp_path / "rows")
    assert not (tmp_path / "again" / "out" / "plan.json").exists()


def test_a_resumed_run_keeps_its_folder(menu_file, event_file, tmp_path):
    menu, path = load_menu(menu_file), event_file("a.root", 50, trouble={3: 2})
    (tmp_path / "rows").write_text("")  # a file: the first unit cannot be handed on
    with pytest.raises(UsageError, match="rows is not a folder"):
        run_menu(menu, [path], tmp_path / "out", monitor=tmp_path / "rows")
    with pytest.raises(UsageError, match=r"was started with --monitor .*/rows: resume it in the same way"):
        run_menu(menu, [path], tmp_path / "out", monitor=tmp_path / "others", resume=True)
    (tmp_path / "rows").unlink()
    run_menu(menu, [path], tmp_path / "out", resume=True)
    assert len(rows_in(tmp_path / "rows")) == 50


def test_the_bytes_of_a_row_are_those_of_its_values():
    table = pa.table({
        "number": pa.array([1.0, 2.0, 3.0], pa.float32()),
        "list": pa.array([[1.0], [], [1.0, 2.0, 3.0]], pa.list_(pa.float32())),
        "lists": pa.array([[[1, 2], [3]], [], [[4]]], pa.list_(pa.list_(pa.int64()))),
        "text": ["a", "", "abc"],
        "bit": [True, False, True],
    })  # fmt: skip
    assert bytes_of_rows(table).tolist() == [4 + 4 + 24 + 1 + 0.125, 4 + 0.125, 4 + 12 + 8 + 3 + 0.125]
    assert bytes_of_rows(table.slice(2)).tolist() == [27.125]
