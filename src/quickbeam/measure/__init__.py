"""Measurements, each of which ends in a record: agreement, physics, latency, memory, loading."""

from quickbeam.measure.agreement import Agreement, Flips, OutputAgreement, verify, wilson
from quickbeam.measure.array_classes import ClassFigures
from quickbeam.measure.array_evaluation import ArrayEvaluation, evaluate_arrays
from quickbeam.measure.bench import Bench, run_bench
from quickbeam.measure.comparison import PathChange, RunComparison, compare_runs
from quickbeam.measure.discrimination import (
    Discrimination,
    Estimate,
    Histogram,
    Sample,
    discriminate,
    histogram,
)
from quickbeam.measure.energies import EmptyFigures, EnergyBin, EnergyFigures
from quickbeam.measure.evaluation import Evaluation, SampleFacts, evaluate_bundle
from quickbeam.measure.harness import Plan, Samples, interleave, interleave_cold
from quickbeam.measure.processes import measure_load, measure_memory
from quickbeam.measure.rate_record import Exchange, PathRate, Rate, RateRecord, Roc, Tuned, TurnOn
from quickbeam.measure.rate_study import compare_models, study_rates, write_tuned
from quickbeam.measure.rates import rate_hz
from quickbeam.measure.records import (
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
from quickbeam.measure.roofline import floor_ns, measure_roofline
from quickbeam.measure.samples import SampleList, SampleSpec, load_samples
from quickbeam.measure.selection import ClassFacts, ClassSample, Selection, classes_of, evaluate_classes
from quickbeam.measure.selectors import Scores, Selector, measure_selectors
from quickbeam.measure.traffic_record import LoadPoint, Scenario, TrafficRecord
from quickbeam.measure.tuning import Tuning, measure_engines

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
