"""Worker processes: their environment, and runs whose processes die."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from tamis._base import TamisError, UsageError
from tamis.cli.run import WORKERS_LOAD as COMMAND_LOADS
from tamis.trigger import load_menu, read_summary, run_menu, stage
from tamis.trigger.run import parts
from tamis.trigger.run.documents import InputFile, RunPlan, RunUnit
from tamis.trigger.run.worker import DEATHS_MOST, Care, after_death
from tamis.trigger.run.workers import WORKERS_LOAD

SCRIPT = """
import sys
from tamis.trigger import load_menu, run_menu
run_menu(load_menu(sys.argv[1]), [sys.argv[2]], sys.argv[3], workers=2)
"""


@stage(reads=["Jet_pt"], adds=["from_environment"])
def from_environment(events):
    return {"from_environment": np.full(len(events), float(os.environ.get("TAMIS_TEST_VALUE", "0")))}


def test_workers_get_the_current_environment(menu_file, event_file, tmp_path, monkeypatch):
    menu_file.write_text(
        menu_file.read_text().replace("steps: [MET_pt > 60]", "steps: [from_environment > 6]")
    )
    path = event_file("a.root", 30)
    for number, expected in (("5", 0), ("7", 30)):
        monkeypatch.setenv("TAMIS_TEST_VALUE", number)
        summary = run_menu(
            load_menu(menu_file),
            [path],
            tmp_path / number,
            workers=2,
            plugged={"from_environment": from_environment},
        )
        assert summary.counts.paths["met"] == expected


def test_a_stage_inside_a_function_is_rejected(menu_file, event_file, tmp_path):
    inner = stage(reads=["Jet_pt"], adds=["from_environment"])(
        lambda events: {"from_environment": np.zeros(len(events))}
    )
    menu_file.write_text(
        menu_file.read_text().replace("steps: [MET_pt > 60]", "steps: [from_environment > 6]")
    )
    with pytest.raises(
        UsageError, match=r"the stage inner is defined inside a function .*: move it to the top level"
    ):
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
    """Return the fork server of a process."""
    children = psutil.Process(process.pid).children()
    return [child for child in children if "forkserver" in " ".join(child.cmdline())]


def workers_of(process):
    return [worker for server in servers_of(process) for worker in server.children()]


def test_a_run_survives_the_death_of_the_fork_server(menu_file, event_file, tmp_path, content):
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


def test_a_hanging_worker_ends_with_its_killed_parent(menu_file, event_file, tmp_path, make_events):
    menu_file.write_text(menu_file.read_text().replace("prescale: 3", "prescale: 1"))
    endless = int(np.flatnonzero(make_events(100)["MET_pt"].to_numpy() > 20)[3])
    process = start(menu_file, event_file("a.root", 100, trouble={endless: 4}), tmp_path / "out")
    deadline = time.monotonic() + 60
    while (
        len(list((tmp_path / "out").glob("units/0*"))) < 3
    ):  # all but the unit of the hanging event, and the next one
        assert time.monotonic() < deadline
        time.sleep(0.01)
    workers = workers_of(process)
    process.kill()
    process.communicate(timeout=30)  # no process holds its pipes
    gone, alive = psutil.wait_procs(workers, timeout=20)
    assert gone
    assert not alive


def test_a_script_without_a_main_guard_gets_a_hint(menu_file, event_file, tmp_path):
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
    assert "must call run_menu under `if __name__ == '__main__':`" in done.stderr


def test_the_command_preloads_the_modules_of_workers():
    assert COMMAND_LOADS == WORKERS_LOAD  # the command has a copy, to avoid the import of the run


def test_a_unit_that_kills_every_worker_ends_the_run(tmp_path):
    unit = RunUnit(number=0, file=0, start=0, stop=10)
    plan = RunPlan(
        tamis="0", menu="", place="", folder="", mode="batch", tree=None, unit_events=10,
        files=(InputFile(url="a.root", entries=10),),
    )  # fmt: skip
    care = after_death(plan, tmp_path, unit, Care(), 1, careful=True)
    assert care == Care(careful=True)
    parts.note_of(tmp_path, unit).parent.mkdir()
    parts.note_of(tmp_path, unit).write_bytes((7).to_bytes(8, "little"))
    care = after_death(plan, tmp_path, unit, care, DEATHS_MOST, careful=True)
    assert care == Care(careful=True, deadly=frozenset({7}))
    with pytest.raises(TamisError, match=r"died 51 times .* entries 0 to 10 of a\.root.* --resume"):
        after_death(plan, tmp_path, unit, care, DEATHS_MOST + 1, careful=True)
