"""How a student compares with its parent on rows that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tamis.bundle import Manifest, WorkingPoint, wilson
from tamis.bundle.working_points import BACKGROUND_ABOVE_MIN, CONFIDENCE_Z, threshold_point
from tamis.compress.quality import Figure, Labels, auc_figure


@dataclass(frozen=True)
class Scored:
    """The student's scores of rows, what they are to imitate, and the numbers by which the parent decides."""

    value: np.ndarray
    target: np.ndarray
    decides: np.ndarray
    labels: Labels | None = None

    @property
    def background(self) -> np.ndarray:
        """Which rows are background: all without labels."""
        if self.labels is None:
            return np.ones(len(self.value), bool)
        return np.isin(self.labels.label, self.labels.background)


@dataclass(frozen=True)
class Threshold:
    """A working point of the student, and the threshold of the parent with the same background."""

    point: WorkingPoint
    parent: float


def find_thresholds(manifest: Manifest, rows: Scored, *, by_score: bool) -> tuple[list[Threshold], list[str]]:
    """Return thresholds of the student that accept as much background as the parent's do on the same rows, and notes on points without one.

    With a metric that is not the parent's score, the parent's threshold is that on the metric for the same fraction of the background.
    """
    chosen = rows.background
    value, decides = rows.value[chosen], rows.decides[chosen]
    found, notes = list[Threshold](), list[str]()
    for point in manifest.working_points:
        fraction = point.background_efficiency
        if by_score:
            limit = point.threshold
        elif fraction is None:
            notes.append(f"the working point {point.name} has no background efficiency and is left out")
            continue
        else:
            limit = float(np.quantile(decides, 1.0 - fraction))
        accepted = int((decides > limit).sum())
        if not BACKGROUND_ABOVE_MIN <= accepted < len(decides):
            notes.append(
                f"the working point {point.name} is left out: the parent accepts {accepted} of {len(decides)} held-out rows of background, "
                f"at least {BACKGROUND_ABOVE_MIN} are needed: give more rows"
            )
            continue
        threshold = float(np.quantile(value.astype(np.float64), 1.0 - accepted / len(value)))
        found.append(
            Threshold(threshold_point(point.name, threshold, value, "held-out rows of background"), limit)
        )
    return found, notes


def judge_student(rows: Scored, thresholds: Sequence[Threshold]) -> dict[str, Figure]:
    """Return flips of the background's decisions, correlations with the target, and the AUC of every signal next to the parent's."""
    chosen = rows.background
    figures: dict[str, Figure] = {}
    for one in thresholds:
        differs = (rows.value[chosen] > one.point.threshold) != (rows.decides[chosen] > one.parent)
        low, high = wilson(int(differs.sum()), len(differs))
        figures[f"flips({one.point.name})"] = Figure(float(differs.mean()), low, high)
    value, target = rows.value[chosen], rows.target[chosen]
    figures["correlation"] = _correlation(value, target)
    figures["correlation(ranks)"] = _correlation(_ranks(value), _ranks(target))
    if rows.labels is not None:
        for number, name in enumerate(rows.labels.classes):
            if number in rows.labels.background:
                continue
            signal = rows.labels.label == number
            pair = np.flatnonzero(chosen | (rows.labels.label == number))
            figures[f"auc({name})"] = auc_figure(rows.value[pair], rows.decides[pair], rows.labels.take(pair))
            for one in thresholds:
                after, before = rows.value[signal] > one.point.threshold, rows.decides[signal] > one.parent
                low, high = wilson(int(after.sum()), len(after))
                figures[f"efficiency({name}, {one.point.name})"] = Figure(
                    float(after.mean()), low, high, float(before.mean())
                )
    return figures


def _correlation(value: np.ndarray, target: np.ndarray) -> Figure:
    """Return the correlation coefficient with the interval of Fisher's transformation."""
    if value.std() == 0 or target.std() == 0:
        return Figure(0.0, -1.0, 1.0)
    found = float(np.corrcoef(value, target)[0, 1])
    half = CONFIDENCE_Z / math.sqrt(max(len(value) - 3, 1))
    centre = math.atanh(min(max(found, -1 + 1e-12), 1 - 1e-12))
    return Figure(found, math.tanh(centre - half), math.tanh(centre + half))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of every value; equal values have their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
