"""How well the template detector finds faults on streams that it has not seen, and how much better than simpler detectors.

python benchmarks/monitoring.py -o monitoring.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from tamis.events import open_writer
from tamis.monitor import lar_watch
from tamis.monitor.comparison import compare_monitors
from tamis.monitor.evaluation import evaluate_stream
from tamis.monitor.training import train_monitor
from tamis.records import TRUTH_FILE, write_record
from tamis.simulate.lar import LarStream, plan_stream, simulate_lar
from tamis.simulate.lar.truth import truth_of

TRAINED = ("pp", "pp", "pp", "pbpb")
JUDGED = tuple((mode, faults) for faults in ("none", "known", "held-out") for mode in ("pp", "pbpb"))
BASELINES = ("mahalanobis", "ewma", "pca")
FAULT_RATE = 0.5  # of the usual one, so that most faults are alone


def write_stream(folder: Path, stream: LarStream) -> Path:
    """Write a stream with its truth."""
    folder.mkdir()
    plan = plan_stream(stream)
    write_record(truth_of(plan), folder / TRUTH_FILE)
    for number, piece in enumerate(simulate_lar(plan)):
        with open_writer(folder / f"{number:05d}.parquet") as writer:
            writer.write(piece)
    return folder


def main() -> None:
    """Train on streams without faults, and judge others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--hours", type=float, default=200.0, help="of each stream")
    parser.add_argument("--seed", type=int, default=1000, help="of the first stream")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, hours, seed = Path(name), options.hours, options.seed
        streams = [
            write_stream(folder / f"good-{k}", LarStream(mode, hours, "none", 1.0, "steps", seed + k))
            for k, mode in enumerate(TRAINED)
        ]
        bundles = [
            train_monitor(streams, lar_watch(), folder / f"lar-{name}.tamis", name).bundle
            for name in ("template", *BASELINES)
        ]
        records, comparisons, good = [], [], dict[str, Path]()
        for k, (mode, faults) in enumerate(JUDGED):
            stream = LarStream(mode, hours, faults, FAULT_RATE, "steps", seed + 100 + k)
            judged = write_stream(folder / f"{mode}-{faults}", stream)
            record = evaluate_stream(bundles[0], judged)
            records.append(record.model_dump())
            print(
                record.stream,
                f"{record.false_alarms} of {record.good_blocks} good blocks, at most {record.false_upper:.2g}; in tenths of the luminosity {record.false_by_luminosity}",
            )
            for one in record.kinds:
                print(
                    f"  {one.fault}: {one.found} of {one.blocks} blocks, region {one.region}, quantity {one.quantity}, defect {one.named}",
                    flush=True,
                )
            if faults == "none":
                good[mode] = judged
                continue
            compared = compare_monitors(bundles, judged, good[mode])
            comparisons.append(compared.model_dump())
            for figure in (*compared.monitors, *compared.differences):
                print(f"  {figure}", flush=True)
    options.output.write_text(json.dumps({"streams": records, "comparisons": comparisons}, indent=1) + "\n")


if __name__ == "__main__":
    main()
