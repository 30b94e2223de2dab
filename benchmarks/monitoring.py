"""How well the template detector finds faults, on streams that it has not seen: `tamis evaluate --stream` for good, known and held-out streams.

python benchmarks/monitoring.py -o monitoring.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from tamis.events import open_writer
from tamis.monitor import lar_watch
from tamis.monitor.evaluation import evaluate_stream
from tamis.monitor.training import train_monitor
from tamis.records import TRUTH_FILE, write_record
from tamis.simulate.lar import LarStream, plan_stream, simulate_lar
from tamis.simulate.lar.truth import truth_of

TRAINED = ("pp", "pp", "pp", "pbpb")
JUDGED = (("pp", "none"), ("pbpb", "none"), ("pp", "known"), ("pp", "held-out"), ("pbpb", "known"))
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
        bundle = train_monitor(streams, lar_watch(), folder / "lar.tamis").bundle
        records = []
        for k, (mode, faults) in enumerate(JUDGED):
            stream = LarStream(mode, hours, faults, FAULT_RATE, "steps", seed + 100 + k)
            record = evaluate_stream(bundle, write_stream(folder / f"{mode}-{faults}", stream))
            records.append(record.model_dump())
            print(
                record.stream,
                f"{record.false_alarms} of {record.good_blocks} good blocks, at most {record.false_upper:.2g}",
            )
            for one in record.kinds:
                print(
                    f"  {one.fault}: {one.found} of {one.blocks} blocks, region {one.region}, quantity {one.quantity}, defect {one.named}",
                    flush=True,
                )
    options.output.write_text(json.dumps({"streams": records}, indent=1) + "\n")


if __name__ == "__main__":
    main()
