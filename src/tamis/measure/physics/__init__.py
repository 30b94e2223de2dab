"""Physics performance of models on simulated samples, with bootstrap errors, next to simple baselines."""

from tamis.measure.physics.array_evaluation import evaluate_arrays
from tamis.measure.physics.discrimination import EvaluationSample, discriminate, histogram
from tamis.measure.physics.evaluation import evaluate_bundle
from tamis.measure.physics.selection import ClassSample, classes_of, evaluate_classes
from tamis.measure.physics.selectors import Scores, measure_selectors

__all__ = [
    "ClassSample",
    "EvaluationSample",
    "Scores",
    "classes_of",
    "discriminate",
    "evaluate_arrays",
    "evaluate_bundle",
    "evaluate_classes",
    "histogram",
    "measure_selectors",
]
