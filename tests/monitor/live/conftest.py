"""A small monitor, a stream with faults that it has judged, and the live page of the journal."""

from __future__ import annotations

import shutil
import sqlite3
import time

import pytest
from tests.monitor.conftest import write_stream

from tamis.monitor.features import observed
from tamis.monitor.live import LiveServer, LiveSettings
from tamis.monitor.run import Monitor, monitor_stream
from tamis.monitor.stream import stream_blocks
from tamis.monitor.training import train_monitor
from tamis.monitor.watch import lar_watch

TOKEN = "a-word-of-the-shift-room"  # noqa: S105 - of this test


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    write_stream(folder / "good", hours=20.0, faults="none", seed=41)
    return train_monitor([folder / "good"], lar_watch(), folder / "lar.tamis").bundle


@pytest.fixture(scope="session")
def stream(tmp_path_factory):
    """Five hours with faults: a dozen alarms, of single blocks and of many in a row."""
    folder = tmp_path_factory.mktemp("live") / "stream"
    write_stream(folder, hours=5.0, faults="known", seed=2)
    return folder


@pytest.fixture(scope="session")
def stream_features(stream):
    return [observed(one, lar_watch()) for one in stream_blocks(stream, lar_watch())]


@pytest.fixture(scope="session")
def judged_once(stream, small_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("judged") / "out"
    monitor_stream(stream, small_bundle, folder).journal.close()
    return folder


@pytest.fixture
def judged(judged_once, tmp_path):
    """A copy of the journal that a test may write to."""
    return shutil.copytree(judged_once, tmp_path / "judged")


@pytest.fixture
def live(judged):
    """The live page of the journal, which may be written with the token."""
    with LiveServer(judged, LiveSettings(0, token=TOKEN, stale_s=1e6)) as server:
        yield server


@pytest.fixture
def monitor(small_bundle, tmp_path):
    """A monitor that has judged nothing yet."""
    monitor = Monitor(small_bundle, tmp_path / "out", stream="stream")
    yield monitor
    monitor.journal.close()


def bad_blocks(folder):
    base = sqlite3.connect(folder / "journal.sqlite")
    try:
        return base.execute("SELECT run, block FROM block WHERE state = 'bad' ORDER BY run, block").fetchall()
    finally:
        base.close()


def copy_rows(folder, column, shift, where, values):
    """Copy blocks of a journal with their evidence, with another run or another number."""
    base = sqlite3.connect(folder / "journal.sqlite")
    for table in ("block", "evidence"):
        known = [row[1] for row in base.execute(f"PRAGMA table_info({table})")]
        names = ", ".join(name for name in known if name not in ("id", column))
        base.execute(f"INSERT INTO {table} ({column}, {names}) SELECT {column} + {shift}, {names} FROM {table} WHERE {where}", values)  # fmt: skip # noqa: S608
    base.commit()
    base.close()


def eventually(found, seconds=10.0):
    """Return what a function finds, as soon as it finds something."""
    end = time.monotonic() + seconds
    while not (result := found()) and time.monotonic() < end:
        time.sleep(0.05)
    assert result
    return result
