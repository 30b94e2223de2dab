"""Several workers find what one finds, in the same order, lose no event, and end with the command."""

from __future__ import annotations

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

from tamis._base import TamisError, UsageError
from tamis.events import Events, open_writer
from tamis.tracking import track_file
from tamis.tracking.reading import cell_blocks, read_cell_block, read_cell_events

LIMIT_S = 30.0


@pytest.fixture(scope="module")
def broken_file(muons, tmp_path_factory):
    """The muons twice, with a charge that is not a number in the second event."""
    columns = {name: ak.concatenate([muons[name], muons[name]]) for name in muons.array.fields}
    charges = [ak.to_numpy(columns["Cell_charge"][k]).copy() for k in range(8)]
    charges[1][3] = np.nan
    columns |= {"Cell_charge": ak.Array(charges), "event": np.arange(1, 9)}
    path = tmp_path_factory.mktemp("broken") / "muons.root"
    with open_writer(path) as writer:
        writer.write(Events.of(columns))
    return path


def test_two_workers_write_what_one_writes(broken_file, reconstruction, tmp_path):
    records, files = [], [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    counted = []
    for workers, path in enumerate(files, 1):
        records.append(track_file(broken_file, reconstruction, path, counted.append, workers=workers))
    one, two = records
    assert files[0].read_bytes() == files[1].read_bytes()
    assert [(broken.event, broken.reason) for broken in two.broken] == [
        (broken.event, broken.reason) for broken in one.broken
    ]
    assert (two.events, len(two.broken), sum(counted)) == (7, 1, 16)
    assert two.physics == one.physics
    assert (one.workers, two.workers) == (1, 2)
    assert two.events_per_second == pytest.approx(8 / two.seconds)


def test_blocks_cover_every_event_once(broken_file, detector):
    expected = [event.number for event in read_cell_events(broken_file, detector.modules)]
    for workers in (1, 2, 3, 100):
        blocks = cell_blocks(broken_file, workers)
        assert len(blocks) >= min(2 * workers, len(expected))
        assert [e.number for block in blocks for e in read_cell_block(block, detector.modules)] == expected


def test_workers_that_take_the_next_block_end_together(muons, tmp_path):
    path = tmp_path / "muons.root"
    with open_writer(path) as writer:
        for _ in range(13):
            writer.write(muons)
    for workers in (1, 2, 3, 8):
        busy = [0] * workers
        for block in cell_blocks(path, workers):
            busy[busy.index(min(busy))] += block.stop - block.start
        assert sum(busy) == 52
        assert max(busy) - min(busy) <= 1


def test_a_file_that_breaks_off_is_the_same_error(muons, reconstruction, tmp_path):
    path = tmp_path / "broken.root"
    with open_writer(path) as writer:
        for _ in range(4):
            writer.write(muons)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(content)
    errors = []
    for workers in (1, 2):
        with pytest.raises(TamisError) as raised:
            track_file(path, reconstruction, tmp_path / "found.root", workers=workers)
        errors.append(raised.value)
        assert not (tmp_path / "found.root").exists()
    assert errors[0].exit_code == errors[1].exit_code
    assert str(path) in str(errors[1])


def test_the_number_of_workers_is_checked(broken_file, reconstruction):
    with pytest.raises(UsageError, match="number of workers is 0"):
        track_file(broken_file, reconstruction, workers=0)


def test_ctrl_c_ends_all_workers(broken_file, tmp_path):
    found = tmp_path / "found.root"
    command = [sys.executable, "-m", "tamis", "track", str(broken_file), "-o", str(found), "--workers", "2"]
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    workers: list[psutil.Process] = []
    try:
        end = time.monotonic() + LIMIT_S
        while len(workers) < 2 and process.poll() is None and time.monotonic() < end:
            children = psutil.Process(process.pid).children(recursive=True)
            workers = [child for child in children if "spawn_main" in " ".join(command_of(child))]
        assert len(workers) == 2
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, errors = process.communicate(timeout=LIMIT_S)
        assert "Traceback" not in errors
        assert process.returncode == 130
        assert not psutil.wait_procs(workers, timeout=10)[1]
    finally:
        for member in [process, *workers]:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        process.communicate()
    assert not found.exists()


def command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
