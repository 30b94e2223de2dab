"""Measurements, each of which ends in a record: agreement, physics, latency, memory, loading."""

from tamis.measure.agreement import Agreement, Flips, OutputAgreement, verify, wilson
from tamis.measure.array_classes import ClassFigures
from tamis.measure.array_evaluation import ArrayEvaluation, evaluate_arrays
from tamis.measure.bench import Bench, run_bench
from tamis.measure.comparison import PathChange, RunComparison, compare_runs
from tamis.measure.discrimination import (
    Discrimination,
    Estimate,
    Histogram,
    Sample,
    discriminate,
    histogram,
)
from tamis.measure.energies import EmptyFigures, EnergyBin, EnergyFigures
from tamis.measure.evaluation import Evaluation, SampleFacts, evaluate_bundle
from tamis.measure.harness import Plan, Samples, interleave, interleave_cold
from tamis.measure.processes import measure_load, measure_memory
from tamis.measure.rate_record import Exchange, PathRate, Rate, RateRecord, Roc, Tuned, TurnOn
from tamis.measure.rate_study import compare_models, study_rates, write_tuned
from tamis.measure.rates import rate_hz
from tamis.measure.records import (
    AnyKind,
    LatencyRow,
    LoadRow,
    MemoryRow,
    Record,
    Roofline,
    TrainingCurves,
    read_records,
    write_record,
)
from tamis.measure.roofline import floor_ns, measure_roofline
from tamis.measure.samples import SampleList, SampleSpec, load_samples
from tamis.measure.selection import ClassFacts, ClassSample, Selection, classes_of, evaluate_classes
from tamis.measure.selectors import Scores, Selector, measure_selectors
from tamis.measure.traffic_record import LoadPoint, Scenario, TrafficRecord
from tamis.measure.tuning import Tuning, measure_engines

__all__ = [
    "Agreement",
    "AnyKind",
    "ArrayEvaluation",
    "Bench",
    "ClassFacts",
    "ClassFigures",
    "ClassSample",
    "Discrimination",
    "EmptyFigures",
    "EnergyBin",
    "EnergyFigures",
    "Estimate",
    "Evaluation",
    "Exchange",
    "Flips",
    "Histogram",
    "LatencyRow",
    "LoadPoint",
    "LoadRow",
    "MemoryRow",
    "OutputAgreement",
    "PathChange",
    "PathRate",
    "Plan",
    "Rate",
    "RateRecord",
    "Record",
    "Roc",
    "Roofline",
    "RunComparison",
    "Sample",
    "SampleFacts",
    "SampleList",
    "SampleSpec",
    "Samples",
    "Scenario",
    "Scores",
    "Selection",
    "Selector",
    "TrafficRecord",
    "TrainingCurves",
    "Tuned",
    "Tuning",
    "TurnOn",
    "classes_of",
    "compare_models",
    "compare_runs",
    "discriminate",
    "evaluate_arrays",
    "evaluate_bundle",
    "evaluate_classes",
    "floor_ns",
    "histogram",
    "interleave",
    "interleave_cold",
    "load_samples",
    "measure_engines",
    "measure_load",
    "measure_memory",
    "measure_roofline",
    "measure_selectors",
    "rate_hz",
    "read_records",
    "run_bench",
    "study_rates",
    "verify",
    "wilson",
    "write_record",
    "write_tuned",
]
