"""Track on a GPU: the same tracks as on the CPU, times of the stages, copies, and events per second with several events at once.

    python benchmarks/tracking/gpu.py tracks.root -o gpu.json

Takes a file of `tamis simulate tracks`. With NUMBA_ENABLE_CUDASIM=1 it runs in Numba's simulator, which shows that it works, and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tamis.events.detector import DetectorFiles
from tamis.tracking import Reconstruction, track_file
from tamis.tracking.comparison import compare_track_files
from tamis.tracking.steps import STAGES


def main() -> None:
    """Run on the CPU and on the GPU, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 2, 4, 8])
    options = parser.parse_args()
    detector = DetectorFiles().open()
    all_on_gpu = dict.fromkeys(STAGES, "cuda")
    with tempfile.TemporaryDirectory() as folder:
        on_cpu = Path(folder) / "cpu.parquet"
        records = {"cpu": track_file(options.source, Reconstruction(detector), on_cpu, keep_stages=True)}
        for count in options.at_once:
            path = Path(folder) / f"{count}.parquet"
            record = track_file(
                options.source,
                Reconstruction(detector, devices=all_on_gpu),
                path,
                keep_stages=True,
                at_once=count,
            )
            records[f"gpu, {count} at once"] = record
        compared = compare_track_files(on_cpu, Path(folder) / f"{options.at_once[0]}.parquet")
    for name, record in records.items():
        together = record.together
        print(
            f"{name}: {record.events_per_second:.3g} events/s, {together.mean_ms:.3g} ms per event, p99 {together.p99_ms:.3g} ms"
        )
    for copy in records[f"gpu, {options.at_once[0]} at once"].transfers:
        print(
            f"{copy.what} to {copy.to}: {copy.count:.3g} copies, {copy.bytes:.4g} bytes, {copy.mean_ms:.3g} ms, link {copy.link_ms}"
        )
    print(compared.model_dump_json(indent=1))
    result = {name: record.model_dump() for name, record in records.items()}
    options.output.write_text(json.dumps(result | {"compared": compared.model_dump()}, indent=1))
    if records[f"gpu, {options.at_once[0]} at once"].simulated_gpu:
        print("no GPU ran: these times are those of Numba's simulator", file=sys.stderr)


if __name__ == "__main__":
    main()
