"""Selectors: variables that select a signal class, with their efficiency for the other classes and the rate removed.

A selector is the probability of a class, the score, or a single variable; its threshold is set where it keeps 99 % of
the signal. Rows are weighted by the rate they represent; errors are bootstrap standard errors over rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tamis._base import progress
from tamis.measure.physics.discrimination import AUC_BOOTSTRAPS, ROC_CURVE_POINTS
from tamis.records import Estimate, Selector

SIGNAL_EFFICIENCY = 0.99
ROUNDING = 1e-12  # of cumulative sums


@dataclass(frozen=True)
class Scores:
    """The variables, class and rate of every row."""

    values: dict[str, np.ndarray]
    label: np.ndarray
    rate: np.ndarray


def measure_selectors(scores: Scores, classes: Sequence[str], rng: np.random.Generator) -> list[Selector]:
    """Measure the probability of each class against all others, and the score and baselines for each signal class."""
    signals = range(1, len(classes))
    selectors = [
        (f"p({name})", k, [c for c in range(len(classes)) if c != k])
        for k, name in enumerate(classes)
        if f"p({name})" in scores.values
    ]
    others = [name for name in scores.values if not name.startswith("p(")]
    selectors += [(name, k, [0]) for name in others for k in signals]
    measured = []
    with progress("bootstrapping", len(selectors), "selectors") as advance:
        for variable, signal, against in selectors:
            measured.append(_measure(scores, classes, variable, signal, against, rng))
            advance(1)
    return measured


def _measure(
    scores: Scores,
    classes: Sequence[str],
    variable: str,
    signal: int,
    against: list[int],
    rng: np.random.Generator,
) -> Selector:
    order = np.argsort(-scores.values[variable], kind="stable")
    value, label, rate = scores.values[variable][order], scores.label[order], scores.rate[order]
    last_of_tie = np.flatnonzero(np.append(value[1:] != value[:-1], True))
    total = np.bincount(label, rate, minlength=len(classes))

    def efficiencies(weights: np.ndarray) -> np.ndarray:
        """Return the efficiency of each class at each threshold, from 0 to 1: shape (classes, thresholds)."""
        each = [np.cumsum(np.where(label == k, weights, 0.0))[last_of_tie] for k in range(len(classes))]
        sums = np.stack(each)
        return np.pad(sums / np.maximum(sums[:, -1:], 1e-300), ((0, 0), (1, 0)))

    def figures(passed: np.ndarray) -> np.ndarray:
        area = np.trapezoid(passed[signal], passed[against].mean(axis=0))
        at = passed[:, np.searchsorted(passed[signal], SIGNAL_EFFICIENCY - ROUNDING)]
        return np.array([area, 1.0 - (total * at).sum() / total.sum(), *at])

    nominal = efficiencies(rate)
    replicas = [figures(efficiencies(rate * rng.poisson(1.0, len(rate)))) for _ in range(AUC_BOOTSTRAPS)]
    auc, removed, *passing = (
        Estimate(value=float(v), error=float(e))
        for v, e in zip(figures(nominal), np.std(replicas, axis=0, ddof=1), strict=True)
    )
    grid = np.geomspace(1.0 / len(label), 1.0, ROC_CURVE_POINTS)
    curve = np.interp(grid, nominal[against].mean(axis=0), nominal[signal])
    return Selector(
        variable=variable,
        signal=classes[signal],
        against=tuple(classes[k] for k in against),
        auc=auc,
        passing=dict(zip(classes, passing, strict=True)),
        removed=removed,
        curve=tuple((float(f"{x:.5g}"), float(f"{y:.5g}")) for x, y in zip(grid, curve, strict=True)),
    )
