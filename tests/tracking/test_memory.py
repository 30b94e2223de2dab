"""A process that reconstructs the same events again and again does not grow."""

from __future__ import annotations

import subprocess
import sys

import pytest

RESIDENT_GROWTH_MAX, HELD_GROWTH_MAX = 8e6, 1e5  # bytes; tracks that were kept would be 2e5
CODE = """
import gc, sys, tracemalloc
from pathlib import Path
from tamis.events.detector import generic_detector
from tamis.tracking import Reconstruction
from tamis.tracking.reading import read_cell_events

def resident():
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024

reconstruct = Reconstruction(generic_detector())
sizes = []
for number in range(30):
    if number == 20:
        tracemalloc.start()  # traces the arrays of numpy as well
    for event in read_cell_events(sys.argv[1], reconstruct.detector.modules):
        assert len(reconstruct(event.cells)) == 10
    del event
    if number >= 20:
        gc.collect()
    sizes.append((resident(), tracemalloc.get_traced_memory()[0]))
print(sizes[-1][0] - sizes[9][0], sizes[-1][1] - sizes[22][1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the resident memory is read from /proc")
def test_memory_is_flat_over_many_passes(muon_file):
    finished = subprocess.run(
        [sys.executable, "-c", CODE, str(muon_file)], capture_output=True, text=True, check=True
    )
    resident, held = map(int, finished.stdout.split())
    assert resident < RESIDENT_GROWTH_MAX
    assert held < HELD_GROWTH_MAX
