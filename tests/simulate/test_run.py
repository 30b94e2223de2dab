"""Determinism, checks of arguments, and the end of worker processes."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import awkward as ak
import numpy as np
import psutil
import pytest

from tamis._base import UsageError
from tamis.events import Events
from tamis.simulate import PROCESSES, SimulationSettings, simulate
from tamis.simulate.blocks import Task, make_block


def differing(a: Events, b: Events) -> list[str]:
    assert a.schema == b.schema
    return [name for name in a.array.fields if ak.to_list(a[name]) != ak.to_list(b[name])]


def test_exactly_n_events_with_consecutive_identity(qcd):
    assert len(qcd) == 300
    assert ak.to_list(qcd["event"]) == list(range(1, 301))
    assert ak.to_list(qcd["luminosityBlock"]) == [1] * 250 + [2] * 50
    assert set(ak.to_list(qcd["run"])) == {1}


def test_the_result_does_not_depend_on_workers(qcd):
    assert differing(qcd, Events.concatenate(simulate("qcd", 300, seed=1, workers=2))) == []


@pytest.mark.parametrize("process", PROCESSES)
def test_a_block_does_not_depend_on_earlier_blocks_or_on_its_length(process):
    task = Task(process, SimulationSettings(), seed=5, block=7, events=12)
    first = make_block(task)
    make_block(Task(process, SimulationSettings(), seed=9, block=1, events=31))
    assert differing(first, make_block(task)) == []
    longer = make_block(Task(process, SimulationSettings(), seed=5, block=7, events=20))
    assert differing(first, longer.select(slice(0, 12))) == []


def test_pile_up_does_not_depend_on_the_number_of_events():
    settings = SimulationSettings(mu=3)
    shorter, longer = (make_block(Task("qcd", settings, seed=5, block=0, events=n)) for n in (5, 9))
    assert differing(shorter, longer.select(slice(0, 5))) == []


def test_another_seed_another_block_and_another_process_give_other_events(qcd):
    other = next(iter(simulate("qcd", 50, seed=2)))
    assert np.all(other["MET_pt"] != qcd["MET_pt"][:50])
    assert np.all(qcd["MET_pt"][:50] != qcd["MET_pt"][250:300])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simulate("qdc", 1, seed=1), "'qcd'"),
        (lambda: simulate("qcd", 0, seed=1), "at least 1"),
        (lambda: simulate("qcd", 1, seed=-1), "seed is -1"),
        (lambda: simulate("qcd", 1, seed=1, workers=0), "number of workers is 0"),
    ],
)
def test_bad_arguments_are_an_error_at_once(call, message):
    with pytest.raises(UsageError, match=message):
        call()


SCRIPT = """
from tamis.simulate import simulate
if __name__ == "__main__":
    try:
        for batch in simulate("qcd", 1_000_000, seed=1, workers=2):
            print(len(batch), flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@contextlib.contextmanager
def started(tmp_path):
    """Start a long simulation in a process group of its own, like a terminal, and wait for the first batch."""
    script = tmp_path / "long.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    family: list[psutil.Process] = []
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "250\n"
        family = psutil.Process(process.pid).children(recursive=True)
        yield process, family
    finally:
        for member in [process, *family]:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        process.communicate()


@pytest.fixture
def running(tmp_path):
    with started(tmp_path) as both:
        yield both


def have_exited(family: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(family, timeout=10)
    return not alive


@pytest.mark.slow
def test_workers_that_end_within_a_result_leave_nobody_waiting(tmp_path):
    """About one interrupt in six meets a worker that is sending its events."""
    for number in range(4):
        with started(tmp_path) as (process, _):
            time.sleep(number / 20)
            os.killpg(process.pid, signal.SIGINT)
            assert process.communicate(timeout=60)[0].endswith("interrupted\n")


def test_interrupt_ends_everything_without_a_traceback(running):
    process, family = running
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=60)
    assert out.endswith("interrupted\n")
    assert err == ""
    assert have_exited(family)


def test_workers_end_with_a_parent_that_is_killed(running):
    process, family = running
    process.kill()
    assert have_exited(family)


def test_leaving_the_loop_early_ends_the_workers():
    batches = simulate("qcd", 100_000, seed=1, workers=2)
    next(iter(batches))
    family = psutil.Process().children(recursive=True)
    started = time.monotonic()
    batches.close()
    assert time.monotonic() - started < 10
    assert have_exited([worker for worker in family if "spawn_main" in " ".join(_command(worker))])


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
