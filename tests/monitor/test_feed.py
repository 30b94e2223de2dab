"""Streams over sockets and the standard input: several senders, marks of the end of a block, and senders that break."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pytest
from tests.monitor.test_monitor import journal_of

from tamis._base import SkippedFilesError, UsageError
from tamis.monitor.feed import FRAME_MOST, feed_frame
from tamis.monitor.run import monitor_stream

BLOCKS = 6


@pytest.fixture(scope="module")
def rows(faulty):
    """The first blocks of a run."""
    array = ak.from_parquet(min(faulty[0].glob("*.parquet")))
    return array[array["luminosityBlock"] < array["luminosityBlock"][0] + BLOCKS]


@pytest.fixture(scope="module")
def expected(rows, monitor_bundle, tmp_path_factory):
    """The journal of the same rows in a file."""
    folder = tmp_path_factory.mktemp("file")
    ak.to_parquet(rows, folder / "rows.parquet")
    monitor_stream(folder, monitor_bundle, folder / "out").journal.close()
    return journal_of(folder / "out")


def frames_of(rows, *, mark=True):
    """A frame for each ten seconds, and the mark of the end of each block."""
    table = ak.to_arrow_table(rows, extensionarray=False)
    for block in np.unique(rows["luminosityBlock"]):
        own = np.flatnonzero(np.asarray(rows["luminosityBlock"]) == block)
        for begin in range(0, len(own), 10):
            yield feed_frame(table.take(own[begin : begin + 10]))
        if mark:
            yield feed_frame(table.slice(0, 0), (int(rows["run"][0]), int(block)))


class Listening:
    """A monitor that listens in a thread."""

    def __init__(self, bundle, folder, idle_s=1.0):
        self.judged, self.error, self._there = [], None, threading.Event()
        self._thread = threading.Thread(target=self._work, args=(bundle, folder, idle_s))
        self._thread.start()
        assert self._there.wait(60)

    def _work(self, bundle, folder, idle_s):
        try:
            monitor_stream(
                "tcp://127.0.0.1:0", bundle, folder, idle_s=idle_s, watched=self.judged.append, opened=self._opened
            ).journal.close()  # fmt: skip
        except SkippedFilesError as error:
            self.error = error

    def _opened(self, address):
        self.address = ("127.0.0.1", int(address.rpartition(":")[2]))
        self._there.set()

    def join(self):
        self._thread.join(60)
        assert not self._thread.is_alive()


def test_two_senders_give_the_same_journal_as_a_file(rows, expected, monitor_bundle, tmp_path):
    monitor = Listening(monitor_bundle, tmp_path / "out")
    with (
        socket.create_connection(monitor.address) as first,
        socket.create_connection(monitor.address) as other,
    ):
        even = np.asarray(rows["second"]) % 2 == 0
        for a, b in zip(frames_of(rows[even]), frames_of(rows[~even]), strict=True):
            other.sendall(b)
            first.sendall(a)
    monitor.join()
    assert monitor.error is None
    assert journal_of(tmp_path / "out") == expected
    assert len(expected) == BLOCKS


def test_a_mark_ends_a_block_and_without_one_the_next_block_does(rows, monitor_bundle, tmp_path):
    for mark, complete in ((True, BLOCKS), (False, BLOCKS - 1)):
        monitor = Listening(monitor_bundle, tmp_path / str(mark), idle_s=3.0)
        with socket.create_connection(monitor.address) as sender:
            for frame in frames_of(rows, mark=mark):
                sender.sendall(frame)
            end = threading.Event()
            for _ in range(100):
                if len(monitor.judged) >= complete:
                    break
                end.wait(0.02)
            assert len(monitor.judged) == complete
        monitor.join()
        assert len(monitor.judged) == BLOCKS


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "a frame begins with its length"),
        ((FRAME_MOST + 1).to_bytes(4, "little"), "a frame begins with its length"),
        ((1000).to_bytes(4, "little") + bytes(10), "broke off within a frame: 10 of 1000 bytes"),
        ((100).to_bytes(4, "little") + bytes(100), "cannot be used"),
        (feed_frame(pa.table({"run": [1], "luminosityBlock": [1]})), "cannot be used"),
        (feed_frame(pa.table({"run": [1]}).replace_schema_metadata({"end_of_block": "x"})), "cannot be used"),
    ],
)
def test_a_sender_that_breaks_costs_the_others_nothing(
    rows, expected, monitor_bundle, tmp_path, content, words
):
    monitor = Listening(monitor_bundle, tmp_path / "out")
    with socket.create_connection(monitor.address) as good:
        frames = list(frames_of(rows))
        for number, frame in enumerate(frames):
            if number == len(frames) // 2:
                with socket.create_connection(monitor.address) as bad:
                    bad.sendall(content)
            good.sendall(frame)
    monitor.join()
    assert words in str(monitor.error)
    assert journal_of(tmp_path / "out") == expected


def test_frames_on_the_standard_input(rows, expected, monitor_bundle, tmp_path):
    command = [
        sys.executable,
        "-m",
        "tamis",
        "monitor",
        "-",
        "--model",
        monitor_bundle.path,
        "-o",
        tmp_path / "out",
    ]
    done = subprocess.run(
        command, input=b"".join(frames_of(rows, mark=False)), capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert journal_of(tmp_path / "out") == expected


def test_an_address_that_cannot_be_used_is_named(monitor_bundle, tmp_path):
    for where, words in (("tcp://here", "HOST:PORT"), ("tcp://127.0.0.1:99999", "HOST:PORT")):
        with pytest.raises(UsageError, match=words):
            monitor_stream(where, monitor_bundle, tmp_path / "out")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match="cannot listen"):
            monitor_stream(f"tcp://127.0.0.1:{port}", monitor_bundle, Path(tmp_path / "out"))
