"""Write calorimeter regions of events and turned copies of them, to train a student of `l1-calo-anomaly` on.

Usage: python benchmarks/level1_rows.py FILE... -o regions.npz

Each copy is turned by a random number of regions about the beam and mirrored along it with probability 1/2. The detector has both symmetries, and
a student with 8,000 weights needs more crossings than are quickly simulated.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tamis.events import read_events
from tamis.features import find_inputs, input_rows

COPIES = 3


def main() -> None:
    """Read the regions of every file, turn them, and write all in random order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    feature = find_inputs({"regions": "l1_calo_towers"})
    columns = feature["regions"].reads
    rows = np.concatenate(
        [
            input_rows(feature, chunk.events).inputs["regions"]
            for chunk in read_events(arguments.files, columns=columns)
        ]
    )
    rng = np.random.default_rng(1)
    every = np.concatenate([rows, *(turned(rows, rng) for _ in range(COPIES))])
    np.savez(arguments.output, regions=every[rng.permutation(len(every))])


def turned(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return every image turned in phi, and some of them mirrored in eta."""
    columns = (np.arange(rows.shape[3]) + rng.integers(0, rows.shape[3], len(rows))[:, None]) % rows.shape[3]
    found = np.take_along_axis(rows, columns[:, None, None, :], axis=3)
    mirrored = rng.random(len(rows)) < 0.5
    found[mirrored] = found[mirrored, :, ::-1]
    return found


if __name__ == "__main__":
    main()
