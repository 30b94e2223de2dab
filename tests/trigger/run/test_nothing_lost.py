"""Kills, corruption, full disks, deadly and hanging stages: no event is lost or duplicated."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from tamis._base import ConservationError
from tamis.events import open_writer
from tamis.trigger import load_menu, run_menu


def start(menu, files, out, *options):
    command = [
        sys.executable,
        "-m",
        "tamis",
        "run",
        str(menu),
        *map(str, files),
        "-o",
        str(out),
        *options,
    ]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def family(process):
    import psutil

    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_run_killed_at_random_and_resumed_gives_the_same_output(
    menu_file, event_file, tmp_path, content, workers
):
    files = [event_file("a.root", 1500), event_file("b.root", 900, seed=2)]
    run_menu(load_menu(menu_file), files, tmp_path / "calm", unit_events=40)
    dice = random.Random(int(workers))
    out = tmp_path / "out"
    for kills in range(60):
        options = ["--unit-events", "40", "--workers", workers, *(["--resume"] if kills else [])]
        process = start(menu_file, files, out, *options)
        wait_for_units(process, out, dice)
        children = family(process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for child in children:
            wait_for_end(child)
        if process.returncode == 0:
            break
    process = start(menu_file, files, out, "--unit-events", "40", "--resume")
    output = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert content(out) == content(tmp_path / "calm")
    assert not (out / "units").exists()


def wait_for_units(process, out, dice):
    """Wait until a random number of units is committed, and a random time after that."""
    units = out / "units"
    before = len(list(units.glob("0*"))) if units.exists() else 0
    more = dice.randint(1, 20)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if units.exists() and len(list(units.glob("0*"))) >= before + more:
            break
        time.sleep(0.005)
    time.sleep(dice.uniform(0, 0.05))


def wait_for_end(child):
    import psutil

    try:
        child.wait(timeout=30)
    except psutil.TimeoutExpired:
        child.kill()
        raise


def test_a_stage_that_kills_its_process_sends_only_that_event_to_debug(
    menu_file, event_file, tmp_path, make_events
):
    met = make_events(600)["MET_pt"].to_numpy()
    menu_file.write_text(menu_file.read_text().replace("prescale: 3", "prescale: 1"))
    deadly = int(np.flatnonzero(met > 20)[40])
    path = event_file("a.root", 600, trouble={deadly: 3})
    summary = run_menu(load_menu(menu_file), [path], tmp_path / "out", workers=2, unit_events=200)
    assert summary.counts.reasons == {"died": 1}
    decided = pq.read_table(tmp_path / "out" / "decisions.parquet").to_pydict()
    assert decided["entry"] == list(range(600))
    assert [e for e, o in zip(decided["entry"], decided["outcome"], strict=True) if o == "debug"] == [deadly]


def test_a_stage_that_hangs_is_killed(menu_file, event_file, tmp_path, make_events):
    met = make_events(100)["MET_pt"].to_numpy()
    menu_file.write_text(menu_file.read_text().replace("prescale: 3", "prescale: 1"))
    hanging = int(np.flatnonzero(met > 20)[3])
    path = event_file("a.root", 100, trouble={hanging: 4})
    summary = run_menu(load_menu(menu_file), [path], tmp_path / "out", workers=2, stuck_s=3.0)
    assert summary.counts.reasons == {"died": 1}
    assert summary.counts.entered == 100


def test_unreadable_ranges_are_reported_and_the_rest_is_decided(menu_file, event_file, tmp_path, make_events):
    import uproot

    path = tmp_path / "a.root"
    with open_writer(path, flush_bytes=1) as writer:  # a basket per batch
        for first in range(0, 6000, 1000):
            writer.write(make_events(1000, seed=first + 1, first=first))
    with uproot.open(path) as file:
        branch = file["Events"]["event"]
        assert list(branch.entry_offsets) == list(range(0, 7000, 1000))
        seek = branch.member("fBasketSeek")[2]
        size = branch.member("fBasketBytes")[2]
    data = bytearray(path.read_bytes())
    data[seek + size // 2 : seek + size // 2 + 64] = b"\xff" * 64
    path.write_bytes(data)
    fine = event_file("b.root", 50, seed=2)
    gone = tmp_path / "gone.root"
    gone.write_bytes(b"root" + b"\0" * 100)
    summary = run_menu(load_menu(menu_file), [path, gone, fine], tmp_path / "out")
    assert summary.counts.balanced
    assert summary.counts.entered == 6050
    assert [(entry.file, entry.start, entry.stop) for entry in summary.unreadable] == [
        (str(path), 2000, 3000)
    ]
    assert [file.problem is not None for file in summary.files] == [False, True, False]
    decided = pq.read_table(tmp_path / "out" / "decisions.parquet").to_pydict()
    assert decided["entry"] == [*range(2000), *range(3000, 6000), *range(50)]


def test_a_run_resumes_after_a_full_disk(menu_file, event_file, tmp_path, content):
    small = tmp_path / "small"
    small.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", small], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("a small file system needs the right to mount")
    try:
        files = [event_file("a.root", 4000)]
        run_menu(load_menu(menu_file), files, tmp_path / "calm", unit_events=200)
        process = start(menu_file, files, small / "out", "--unit-events", "200")
        _, error = process.communicate(timeout=120)
        assert process.returncode == 1
        assert b"the disk is full" in error
        assert b"Traceback" not in error
        subprocess.run(["mount", "-o", "remount,size=20m", small], check=True)
        process = start(menu_file, files, small / "out", "--unit-events", "200", "--resume")
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        assert content(small / "out") == content(tmp_path / "calm")
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_missing_unit_is_an_error(menu_file, event_file, tmp_path, monkeypatch):
    from tamis.trigger.run import run as module

    path = event_file("a.root", 300)
    real = module.parts.committed

    def lose_one(out):
        found = real(out)
        return dict(list(found.items())[:-1]) if len(found) > 2 else found

    monkeypatch.setattr(module.parts, "committed", lose_one)
    with pytest.raises(ConservationError, match=r"entries 200 to 300 of .*a\.root"):
        run_menu(load_menu(menu_file), [path], tmp_path / "out", unit_events=100)


def test_a_run_does_not_resume_with_other_files_or_another_menu(menu_file, event_file, tmp_path):
    from tamis._base import UsageError

    path = event_file("a.root", 1500)
    process = start(menu_file, [path], tmp_path / "out", "--unit-events", "10")
    while process.poll() is None and not list((tmp_path / "out").glob("units/0*")):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    with pytest.raises(UsageError, match="holds an unfinished run: continue with --resume"):
        run_menu(load_menu(menu_file), [path], tmp_path / "out")
    shutil.copy(event_file("b.root", 10), path)
    with pytest.raises(UsageError, match=r"a.root with 1500 events .* existed when it was started"):
        run_menu(load_menu(menu_file), [path], tmp_path / "out", resume=True)
    menu_file.write_text(menu_file.read_text().replace("60", "61"))
    with pytest.raises(UsageError, match="another menu"):
        run_menu(load_menu(menu_file), [path], tmp_path / "out", resume=True)
