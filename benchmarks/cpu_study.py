"""The CPU study of the anomaly detectors: PyTorch, ONNX Runtime and OpenVINO; latency, then memory.

Usage: python benchmarks/cpu_study.py [--quick]
"""

from __future__ import annotations

import sys
from pathlib import Path

from tamis._base import file_stamp
from tamis.bundle import Bundle
from tamis.measure import Bench, TimingPlan, run_bench
from tamis.records import write_record

RECORDS = Path(__file__).parent / "records"
ENGINES = ("onnxruntime", "openvino", "torch")
MEMORY_EVENTS = {"conv-vae": 150_000, "graph-vae": 80_000}


def main(quick: bool) -> None:
    batches = (1, 64) if quick else (1, 8, 16, 64, 256, 1024)
    plan = (
        TimingPlan(rounds=5, budget_ns=2_000_000_000)
        if quick
        else TimingPlan(rounds=30, budget_ns=25_000_000_000)
    )
    bundles = [Bundle.open(name) for name in MEMORY_EVENTS]
    latency = run_bench(bundles, Bench(engines=ENGINES, batches=batches, plan=plan))
    print(write_record(latency, RECORDS / f"cpu-latency-{file_stamp(latency.created)}.json"))
    for bundle in bundles:
        events = 2_000 if quick else MEMORY_EVENTS[bundle.name]
        bench = Bench(
            engines=ENGINES,
            batches=(1,),
            plan=TimingPlan(rounds=5, budget_ns=100_000_000),
            cold=False,
            load=False,
            memory_batches=batches,
            memory_events=events,
        )
        memory = run_bench([bundle], bench)
        memory = memory.model_copy(update={"latency": ()})  # keep only the memory measurements
        print(write_record(memory, RECORDS / f"cpu-memory-{bundle.name}-{file_stamp(memory.created)}.json"))


if __name__ == "__main__":
    main("--quick" in sys.argv[1:])
