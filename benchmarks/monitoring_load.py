"""What a monitor costs on events: CPU per GB and memory along a long stream, and the journal of one that is killed again and again.

python benchmarks/monitoring_load.py lar.tamis --gigabytes 2 --kills 100 -o monitoring_load.json
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from tamis._base import host_facts, utc_timestamp
from tamis.events import open_writer
from tamis.simulate.lar import LarStream, plan_stream, simulate_lar

SAMPLE_S = 0.05


def write_hour(folder: Path, seed: int) -> None:
    """Write an hour of events with known faults."""
    folder.mkdir()
    for number, piece in enumerate(
        simulate_lar(plan_stream(LarStream("pp", 1.0, "known", 1.0, "events", seed)))
    ):
        with open_writer(folder / f"{number:05d}.parquet") as writer:
            writer.write(piece)


def repeat(hour: Path, stream: Path, number: int) -> None:
    """Write the hour once more, as another run."""
    for path in sorted(hour.iterdir()):
        table = pq.read_table(path)
        column = table.column_names.index("run")
        moved = table["run"].to_numpy() + number
        table = table.set_column(
            column, table.schema.field(column), [moved.astype(table["run"].to_numpy().dtype)]
        )
        pq.write_table(table, stream / f"{number:04d}-{path.name}", compression="lz4")


def monitor_command(stream: Path, bundle: str, journal: Path) -> list[str]:
    """Return the command that watches a stream to its end."""
    return [
        sys.executable,
        "-m",
        "tamis",
        "monitor",
        str(stream),
        "--model",
        bundle,
        "-o",
        str(journal),
        "--json",
    ]


def cost(stream: Path, bundle: str, journal: Path) -> dict[str, object]:
    """Watch a stream, and return CPU and memory; the latter as the largest of each tenth of the time."""
    process = subprocess.Popen(
        monitor_command(stream, bundle, journal), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    watched, memory, begin = psutil.Process(process.pid), [], time.monotonic()
    cpu = 0.0
    while process.poll() is None:
        try:
            memory.append(watched.memory_info().rss)
            cpu = sum(watched.cpu_times()[:2])
        except psutil.Error:
            break
        time.sleep(SAMPLE_S)
    if process.wait():
        raise SystemExit(f"the monitor ended with {process.returncode}")
    size = sum(path.stat().st_size for path in stream.iterdir()) / 1e9
    tenths = [
        max(memory[len(memory) * k // 10 : len(memory) * (k + 1) // 10] or [0]) / 1e6 for k in range(10)
    ]
    return {
        "gigabytes": size,
        "seconds": time.monotonic() - begin,
        "cpu_seconds_per_gigabyte": cpu / size,
        "megabytes_in_tenths": tenths,
    }


def killed(stream: Path, bundle: str, journal: Path, kills: int, whole_s: float, seed: int) -> int:
    """Watch a stream with a monitor that is killed at random times; return how often it was killed."""
    chance, done = random.Random(seed), 0  # noqa: S311 - no secret
    while done < kills:
        process = subprocess.Popen(
            monitor_command(stream, bundle, journal), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(chance.uniform(0.5, max(1.0, whole_s / 10)))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            done += 1
            continue
        shutil.rmtree(journal)  # it came to the end: begin again
    subprocess.run(
        monitor_command(stream, bundle, journal),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return done


def content(journal: Path) -> list[str]:
    """Return all that is in a journal, but for the times at which it was written."""
    with sqlite3.connect(journal / "journal.sqlite") as base:
        return sorted(line for line in base.iterdump() if not line.startswith('INSERT INTO "evidence"'))


def main() -> None:
    """Measure, and compare the journals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hour, stream = folder / "hour", folder / "stream"
        write_hour(hour, options.seed)
        stream.mkdir()
        number = 0
        while sum(path.stat().st_size for path in stream.iterdir()) < options.gigabytes * 1e9:
            repeat(hour, stream, number)
            number += 1
        found = cost(stream, options.bundle, folder / "whole")
        print(json.dumps(found, indent=1), flush=True)
        once = cost(hour, options.bundle, folder / "once")
        kills = killed(
            hour, options.bundle, folder / "killed", options.kills, float(str(once["seconds"])), options.seed
        )
        same = content(folder / "once") == content(folder / "killed")
        print(f"killed {kills} times: the journal is {'the same' if same else 'another'}")
    record = {
        "created": utc_timestamp(),
        "host": host_facts().model_dump(),
        "cost": found,
        "kills": kills,
        "same_journal": same,
    }
    options.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
