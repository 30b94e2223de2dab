"""Working points: thresholds on the score, from rows that were not used in training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tamis.bundle import WorkingPoint

SIGNAL_EFFICIENCY = 0.99
BACKGROUND_ABOVE_MIN = 10  # rows of background above a threshold


def background_points(background: np.ndarray, efficiencies: Sequence[float], rows: str) -> list[WorkingPoint]:
    """Return a threshold for each background efficiency for which there are enough rows."""
    points = []
    for efficiency in efficiencies:
        if len(background) * efficiency >= BACKGROUND_ABOVE_MIN:
            threshold = float(np.quantile(background, 1.0 - efficiency))
            points.append(_point(f"background-{efficiency:g}", threshold, background, f"calibration {rows}"))
    return points


def class_points(classes: Sequence[str], scores: np.ndarray, label: np.ndarray) -> list[WorkingPoint]:
    """Return for each signal class the threshold that 99 % of it pass."""
    points = []
    for number, name in enumerate(classes[1:], start=1):
        threshold = float(np.quantile(scores[label == number], 1.0 - SIGNAL_EFFICIENCY))
        rows = f"calibration rows of {classes[0]}"
        points.append(_point(f"{name}-{SIGNAL_EFFICIENCY:g}", threshold, scores[label == 0], rows))
    return points


def _point(name: str, threshold: float, background: np.ndarray, rows: str) -> WorkingPoint:
    return WorkingPoint(
        name=name,
        threshold=threshold,
        background_efficiency=float(np.mean(background > threshold)),
        background=f"{len(background)} {rows}",
    )
