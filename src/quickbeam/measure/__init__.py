"""Measurements, each of which ends in a record: agreement, physics, latency, memory, loading."""

from quickbeam.measure.agreement import Agreement, Flips, OutputAgreement, verify, wilson
from quickbeam.measure.bench import Bench, run_bench
from quickbeam.measure.discrimination import (
    Discrimination,
    Estimate,
    Histogram,
    Sample,
    discriminate,
    histogram,
)
from quickbeam.measure.evaluation import Evaluation, SampleFacts, evaluate_bundle
from quickbeam.measure.harness import Plan, Samples, interleave, interleave_cold
from quickbeam.measure.processes import measure_load, measure_memory
from quickbeam.measure.records import (
    LatencyRow,
    LoadRow,
    MemoryRow,
    Record,
    Roofline,
    TrainingCurves,
    read_records,
    write_record,
)
from quickbeam.measure.roofline import floor_ns, measure_roofline
from quickbeam.measure.selection import ClassFacts, ClassSample, Selection, classes_of, evaluate_classes
from quickbeam.measure.selectors import Scores, Selector, measure_selectors

__all__ = [
    "Agreement",
    "Bench",
    "ClassFacts",
    "ClassSample",
    "Discrimination",
    "Estimate",
    "Evaluation",
    "Flips",
    "Histogram",
    "LatencyRow",
    "LoadRow",
    "MemoryRow",
    "OutputAgreement",
    "Plan",
    "Record",
    "Roofline",
    "Sample",
    "SampleFacts",
    "Samples",
    "Scores",
    "Selection",
    "Selector",
    "TrainingCurves",
    "classes_of",
    "discriminate",
    "evaluate_bundle",
    "evaluate_classes",
    "floor_ns",
    "histogram",
    "interleave",
    "interleave_cold",
    "measure_load",
    "measure_memory",
    "measure_roofline",
    "measure_selectors",
    "read_records",
    "run_bench",
    "verify",
    "wilson",
    "write_record",
]
