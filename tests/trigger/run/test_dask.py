"""A real Dask scheduler with workers in separate processes, on loopback."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from tamis._base import UsageError
from tamis.trigger import load_menu, run_menu

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # distributed warns on shutdown
]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def cluster(tmp_path):
    address = f"tcp://127.0.0.1:{free_port()}"
    log = (tmp_path / "cluster.log").open("wb")
    environment = {**os.environ, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}

    def begin(*arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]],
            stdout=log,
            stderr=log,
            env=environment,
            cwd=tmp_path,
        )

    port = address.rpartition(":")[2]
    processes = [
        begin("dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard", "--no-show")
    ]
    processes += [
        begin(
            "dask_worker",
            address,
            "--nthreads",
            "1",
            "--no-dashboard",
            "--host",
            "127.0.0.1",
            "--name",
            f"w{i}",
        )
        for i in range(2)
    ]
    from distributed import Client

    with Client(address, timeout=60) as client:
        client.wait_for_workers(2, timeout=60)
    yield address, processes
    for process in processes:
        end(process)
    log.close()


def end(process):
    """End a process and its children."""
    from psutil import NoSuchProcess, Process

    with contextlib.suppress(NoSuchProcess):
        children = Process(process.pid).children(recursive=True)
        for victim in children:
            with contextlib.suppress(NoSuchProcess):
                victim.kill()
    process.kill()
    process.wait(timeout=30)


def test_output_is_the_same_after_a_worker_is_killed(menu_file, event_file, tmp_path, content, cluster):
    address, processes = cluster
    files = [event_file("a.root", 3000), event_file("b.root", 1000, seed=2)]
    run_menu(load_menu(menu_file), files, tmp_path / "calm")
    command = [sys.executable, "-m", "tamis", "run", menu_file, *files, "-o", tmp_path / "out"]
    run = subprocess.Popen(
        [*map(str, command), "--scheduler", address, "--unit-events", "25"], stderr=subprocess.PIPE
    )
    while run.poll() is None and len(list((tmp_path / "out").glob("units/0*"))) < 20:
        time.sleep(0.01)
    from psutil import Process

    victims = Process(processes[1].pid).children(recursive=True)
    assert run.poll() is None, run.communicate()
    for victim in victims:  # the nanny starts another one
        victim.kill()
    _, error = run.communicate(timeout=120)
    assert run.returncode == 0, error
    assert content(tmp_path / "out") == content(tmp_path / "calm")


def test_an_event_that_kills_workers_goes_to_debug(menu_file, event_file, tmp_path, make_events, cluster):
    met = make_events(300)["MET_pt"].to_numpy()
    menu_file.write_text(menu_file.read_text().replace("prescale: 3", "prescale: 1"))
    deadly = int(np.flatnonzero(met > 20)[10])
    path = event_file("a.root", 300, trouble={deadly: 3})
    summary = run_menu(load_menu(menu_file), [path], tmp_path / "out", scheduler=cluster[0], unit_events=100)
    assert summary.counts.reasons == {"died": 1}
    assert summary.counts.entered == 300
    assert summary.workers == 2


def test_an_unreachable_scheduler_is_reported(menu_file, event_file, tmp_path):
    with pytest.raises(UsageError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        run_menu(
            load_menu(menu_file), [event_file("a.root", 10)], tmp_path / "out", scheduler="tcp://127.0.0.1:1"
        )
