"""A monitor of the simulated calorimeter, trained on two streams without faults."""

from __future__ import annotations

import fcntl
import os
import shutil

import pytest

from tamis.bundle import Bundle
from tamis.events import open_writer
from tamis.monitor.training import train_monitor
from tamis.monitor.watch import lar_watch
from tamis.records import write_record
from tamis.simulate.lar import LarStream, plan_stream, simulate_lar
from tamis.simulate.lar.truth import truth_of


def write_stream(folder, **options):
    """Write a stream of steps, and return its plan."""
    folder.mkdir()
    plan = plan_stream(LarStream(detail=options.pop("detail", "steps"), **options))
    write_record(truth_of(plan), folder / "truth.json")
    for number, piece in enumerate(simulate_lar(plan), 1):
        with open_writer(folder / f"steps-{number:05d}.parquet") as writer:
            writer.write(piece)
    return plan


@pytest.fixture(scope="session")
def watch():
    return lar_watch()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Return a function that makes a folder once for all processes of the tests."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def made(name, make):
        folder = root / f"monitor-{name}"
        with (root / f"monitor-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / "made").exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                (folder / "made").touch()
        return folder

    return made


@pytest.fixture(scope="session")
def monitor_bundle(made_once, watch):
    def make(folder):
        streams = [folder / name for name in ("a", "b", "ions")]
        for seed, stream in enumerate(streams[:2], 31):
            write_stream(stream, hours=60.0, faults="none", seed=seed)
        write_stream(streams[2], hours=30.0, faults="none", seed=33, mode="pbpb")
        train_monitor(streams, watch, folder / "lar.tamis")

    return Bundle.open(made_once("model", make) / "lar.tamis")


@pytest.fixture(scope="session")
def faulty(made_once):
    """Two days with known faults."""
    options = {"hours": 48.0, "faults": "known", "fault_rate": 0.5, "seed": 3}
    folder = made_once("faulty", lambda made: write_stream(made / "stream", **options)) / "stream"
    return folder, plan_stream(LarStream(detail="steps", **options))
