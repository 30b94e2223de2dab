"""Memory does not grow with a file ten times larger, by the high-water mark of a new process."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from tamis.events import Events, open_writer

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")

READ = textwrap.dedent("""
    import sys
    from tamis.events import read_events
    count = sum(len(chunk.events) for chunk in read_events(sys.argv[1], chunk_bytes=4_000_000))
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(count, int(peak.split()[1]) * 1024)
""")


def batch() -> Events:
    rng = np.random.default_rng(3)
    counts = rng.integers(100, 300, 1000)
    columns = {
        f"PFCands_{name}": ak.unflatten(rng.normal(size=counts.sum()).astype("f4"), counts) for name in "abcd"
    }
    identity = {name: np.arange(1000) for name in ("run", "luminosityBlock", "event")}
    return Events.of({**identity, **columns})


def write(path: Path, batches: int) -> None:
    events = batch()
    if "rntuple" in path.name:
        with uproot.recreate(path) as file:
            ntuple = file.mkrntuple("Events", events.array)
            for _ in range(batches - 1):
                ntuple.extend(events.array)
    else:
        with open_writer(path, flush_bytes=1) as writer:
            for _ in range(batches):
                writer.write(events)


def peak_bytes(path: Path, batches: int) -> int:
    done = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True)
    count, peak = map(int, done.stdout.split())
    assert count == 1000 * batches
    return peak


@pytest.mark.parametrize("suffix", [".root", ".rntuple.root", ".parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path, suffix):
    peaks = []
    for batches in (4, 40):
        write(tmp_path / f"{batches}{suffix}", batches)
        peaks.append(peak_bytes(tmp_path / f"{batches}{suffix}", batches))
    # the larger file has 130 MB uncompressed; keeping a fifth of it would fail the test
    assert peaks[1] - peaks[0] < 26_000_000
