"""A monitor of the simulated calorimeter, trained on two streams without faults."""

from __future__ import annotations

import pytest

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
def monitor_bundle(tmp_path_factory, watch):
    folder = tmp_path_factory.mktemp("streams")
    streams = [folder / name for name in ("a", "b", "ions")]
    for seed, stream in enumerate(streams[:2], 31):
        write_stream(stream, hours=60.0, faults="none", seed=seed)
    write_stream(streams[2], hours=30.0, faults="none", seed=33, mode="pbpb")
    return train_monitor(streams, watch, folder / "lar.tamis").bundle


@pytest.fixture(scope="session")
def faulty(tmp_path_factory):
    """Two days with known faults."""
    folder = tmp_path_factory.mktemp("faulty") / "stream"
    return folder, write_stream(folder, hours=48.0, faults="known", fault_rate=0.5, seed=3)
