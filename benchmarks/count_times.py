"""Counted operations against measured time of the shipped bundles, as a table in Markdown, with rank correlations.

Usage: python benchmarks/count_times.py [benchmarks/records/native-speed-20261122T065127.json]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from tamis.bundle import Bundle, rows_of
from tamis.fixedpoint import count_model

RECORD = Path(__file__).parent / "records/native-speed-20261122T065127.json"
BATCHES = (1, 64)


def main() -> None:
    """Print the table."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else RECORD
    times: dict[str, dict[int, float]] = {}
    for row in json.loads(path.read_text())["rows"]:
        times.setdefault(row["model"], {})[row["batch"]] = row["us"]["native"] / row["batch"]
    rows = []
    for name, found in times.items():
        if " " in name:  # a part of a bundle
            continue
        bundle = Bundle.open(name)
        layers, _ = count_model(bundle.model, rows_of(bundle.golden.inputs, slice(0, 1)))
        rows.append((name, sum(layer.macs for layer in layers), *(found[batch] for batch in BATCHES)))
    print("| model | MACs | time, 1 event (µs) | ps per MAC | per event of 64 (µs) | ps per MAC |\n|---|---|---|---|---|---|")
    for name, macs, one, many in sorted(rows, key=lambda row: row[1]):
        print(f"| {name} | {macs:,} | {one:.3g} | {1e6 * one / macs:.0f} | {many:.3g} | {1e6 * many / macs:.0f} |")
    logs = np.log([row[1:] for row in rows])
    for place, batch in enumerate(BATCHES, 1):
        ranks = np.argsort(np.argsort(logs, axis=0), axis=0)
        print(
            f"batch {batch}: correlation of the logarithms {np.corrcoef(logs[:, 0], logs[:, place])[0, 1]:.3f}, "
            f"of the ranks {np.corrcoef(ranks[:, 0], ranks[:, place])[0, 1]:.3f}"
        )


if __name__ == "__main__":
    main()
