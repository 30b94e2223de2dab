"""Worker processes: what they are given, and what becomes of a run whose helpers die."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from tamis._base import UsageError
from tamis.cli.run import WORKERS_LOAD as COMMAND_LOADS
from tamis.trigger import load_menu, read_summary, run_menu, stage
from tamis.trigger.run.workers import WORKERS_LOAD

SCRIPT = """
import sys
from tamis.trigger import load_menu, run_menu
run_menu(load_menu(sys.argv[1]), [sys.argv[2]], sys.argv[3], workers=2)
"""


@stage(reads=["Jet_pt"], adds=["told"])
def told(events):
    return {"told": np.full(len(events), float(os.environ.get("TAMIS_TOLD", "0")))}


def test_workers_have_the_environment_as_it_is_now(menu_file, event_file, tmp_path, monkeypatch):
    menu_file.write_text(menu_file.read_text().replace("steps: [MET_pt > 60]", "steps: [told > 6]"))
    path = event_file("a.root", 30)
    for number, expected in (("5", 0), ("7", 30)):
        monkeypatch.setenv("TAMIS_TOLD", number)
        summary = run_menu(load_menu(menu_file), [path], tmp_path / number, workers=2, plugged={"told": told})
        assert summary.counts.paths["met"] == expected


def test_a_stage_inside_a_function_is_refused(menu_file, event_file, tmp_path):
    inner = stage(reads=["Jet_pt"], adds=["told"])(lambda events: {"told": np.zeros(len(events))})
    menu_file.write_text(menu_file.read_text().replace("steps: [MET_pt > 60]", "steps: [told > 6]"))
    with pytest.raises(UsageError, match=r"the stage inner is made inside a function .*; put it there"):
        run_menu(
            load_menu(menu_file),
            [event_file("a.root", 30)],
            tmp_path / "out",
            workers=2,
            plugged={"inner": inner},
        )


def start(menu, path, out):
    command = [
        sys.executable,
        "-m",
        "tamis",
        "run",
        str(menu),
        str(path),
        "-o",
        str(out),
        "--workers",
        "2",
    ]
    return subprocess.Popen([*command, "--unit-events", "20"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def servers_of(process):
    """Return what the workers of a run are forked from."""
    children = psutil.Process(process.pid).children()
    return [child for child in children if "forkserver" in " ".join(child.cmdline())]


def workers_of(process):
    return [worker for server in servers_of(process) for worker in server.children()]


def test_what_workers_are_forked_from_may_die(menu_file, event_file, tmp_path, content):
    path = event_file("a.root", 3000)
    run_menu(load_menu(menu_file), [path], tmp_path / "calm", unit_events=20)
    process = start(menu_file, path, tmp_path / "out")
    while process.poll() is None and len(list((tmp_path / "out").glob("units/0*"))) < 5:
        time.sleep(0.005)
    servers = servers_of(process)
    for server in servers:
        server.kill()
    _, errors = process.communicate(timeout=120)
    assert servers
    assert process.returncode == 0, errors
    assert read_summary(tmp_path / "out").counts.balanced
    assert content(tmp_path / "out") == content(tmp_path / "calm")


def test_a_worker_that_hangs_does_not_outlive_a_run_that_was_killed(
    menu_file, event_file, tmp_path, make_events
):
    menu_file.write_text(menu_file.read_text().replace("prescale: 3", "prescale: 1"))
    endless = int(np.flatnonzero(make_events(100)["MET_pt"].to_numpy() > 20)[3])
    process = start(menu_file, event_file("a.root", 100, trouble={endless: 4}), tmp_path / "out")
    deadline = time.monotonic() + 60
    while (
        len(list((tmp_path / "out").glob("units/0*"))) < 3
    ):  # all but that of the endless one, and the one behind it
        assert time.monotonic() < deadline
        time.sleep(0.01)
    workers = workers_of(process)
    process.kill()
    process.communicate(timeout=30)  # nobody holds its pipes
    gone, alive = psutil.wait_procs(workers, timeout=20)
    assert gone
    assert not alive


def test_a_script_without_its_guard_is_told_about_it(menu_file, event_file, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script, menu_file, event_file("a.root", 100), tmp_path / "out"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "does so under `if __name__ == '__main__':`" in done.stderr


def test_the_command_has_loaded_beside_it_what_workers_load():
    assert COMMAND_LOADS == WORKERS_LOAD  # a name apart: the command does not import the run to know it
