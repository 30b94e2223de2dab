"""Latency, memory and loading times of engines: interleaved, verified before they are timed."""

from tamis.measure.speed.bench import Bench, run_bench
from tamis.measure.speed.harness import Samples, TimingPlan, interleave, interleave_cold
from tamis.measure.speed.processes import measure_load, measure_memory
from tamis.measure.speed.roofline import floor_ns, measure_roofline

__all__ = [
    "Bench",
    "Samples",
    "TimingPlan",
    "floor_ns",
    "interleave",
    "interleave_cold",
    "measure_load",
    "measure_memory",
    "measure_roofline",
    "run_bench",
]
