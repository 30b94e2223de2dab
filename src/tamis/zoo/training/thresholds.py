"""Working points of trained networks, from rows that were not used in training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tamis.bundle import BACKGROUND_ABOVE_MIN, WorkingPoint, background_point, threshold_point

SIGNAL_EFFICIENCY = 0.99


def background_points(background: np.ndarray, efficiencies: Sequence[float], rows: str) -> list[WorkingPoint]:
    """Return a threshold for each background efficiency for which there are enough rows."""
    return [
        background_point(f"background-{efficiency:g}", efficiency, background, f"calibration {rows}")
        for efficiency in efficiencies
        if len(background) * efficiency >= BACKGROUND_ABOVE_MIN
    ]


def class_points(classes: Sequence[str], scores: np.ndarray, label: np.ndarray) -> list[WorkingPoint]:
    """Return for each signal class the threshold that 99 % of it pass."""
    points = []
    for number, name in enumerate(classes[1:], start=1):
        threshold = float(np.quantile(scores[label == number], 1.0 - SIGNAL_EFFICIENCY))
        rows = f"calibration rows of {classes[0]}"
        points.append(threshold_point(f"{name}-{SIGNAL_EFFICIENCY:g}", threshold, scores[label == 0], rows))
    return points
