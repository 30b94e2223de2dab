"""The memory of a process that reconstructs the same events many times: it must not grow.

Usage: python benchmarks/tracking/memory.py [--file EVENTS.root] [--mu 200] [--events 20] [--passes 50] [--json OUT]
Without a file, ttbar events with pile-up are simulated into a temporary one. Every pass reads the file again. Prints the resident memory
after every pass, and how much it has grown since the first one, in which buffers reach their size.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from tamis._base import host_facts, now_ns
from tamis.events import open_writer
from tamis.events.detector import generic_detector
from tamis.simulate.silicon import TrackSample, simulate_tracks
from tamis.tracking import Reconstruction
from tamis.tracking.opening import warm_up
from tamis.tracking.reading import read_cell_events

SEED = 11


def main() -> None:
    """Simulate if needed, reconstruct, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--file", type=Path, help="events with cells; default: simulated")
    parser.add_argument("--mu", type=float, default=200.0, help="pile-up of simulated events")
    parser.add_argument("--events", type=int, default=20)
    parser.add_argument("--passes", type=int, default=50)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.file or simulated(Path(folder) / "events.root", options.mu, options.events)
        resident = resident_of_passes(path, options.events, options.passes)
    growth = resident[-1] - resident[0]
    print(f"growth after the first pass: {growth / 1e6:+.1f} MB, largest {max(resident) / 1e6:.1f} MB")
    if options.json is not None:
        facts = {
            "source": "simulated" if options.file is None else str(options.file),
            "mu": options.mu,
            "events": options.events,
            "passes": options.passes,
            "resident_bytes": resident,
            "growth_bytes": growth,
            "host": host_facts().model_dump(),
        }
        options.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def simulated(path: Path, mu: float, events: int) -> Path:
    """Write ttbar events with pile-up."""
    with open_writer(path) as writer:
        for batch in simulate_tracks(TrackSample("ttbar", mu=mu), events, seed=SEED):
            writer.write(batch)
    return path


def resident_of_passes(path: Path, events: int, passes: int) -> list[int]:
    """Return the resident memory in bytes after every pass over the events of a file."""
    reconstruct = Reconstruction(generic_detector())
    warm_up(reconstruct)
    resident = []
    for number in range(1, passes + 1):
        start, tracks, done = now_ns(), 0, 0
        for event in read_cell_events(path, reconstruct.detector.modules):
            if done == events:
                break
            if event.cells is not None:
                tracks += len(reconstruct(event.cells))
            done += 1
        resident.append(resident_bytes())
        seconds = (now_ns() - start) / 1e9
        print(
            f"pass {number:3}: {done} events, {tracks} tracks, {seconds:.1f} s, {resident[-1] / 1e6:.1f} MB",
            flush=True,
        )
    return resident


def resident_bytes() -> int:
    """Return the resident memory of this process (Linux)."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this system does not tell the resident memory of a process in /proc")


if __name__ == "__main__":
    main()
