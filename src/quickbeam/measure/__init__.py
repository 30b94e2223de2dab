"""Measurements, each of which ends in a record: agreement, physics, latency, memory, loading."""

from quickbeam.measure.agreement import Agreement, Flips, OutputAgreement, verify, wilson
from quickbeam.measure.discrimination import (
    Discrimination,
    Estimate,
    Histogram,
    Sample,
    discriminate,
    histogram,
)
from quickbeam.measure.evaluation import Evaluation, SampleFacts, evaluate_bundle

__all__ = [
    "Agreement",
    "Discrimination",
    "Estimate",
    "Evaluation",
    "Flips",
    "Histogram",
    "OutputAgreement",
    "Sample",
    "SampleFacts",
    "discriminate",
    "evaluate_bundle",
    "histogram",
    "verify",
    "wilson",
]
