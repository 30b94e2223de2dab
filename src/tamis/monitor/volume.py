"""VUS-PR: the volume under the surface of precision and recall for labels with a margin of growing width.

Paparrizos et al., "Volume Under the Surface: A New Accuracy Evaluation Measure for Time-Series Anomaly Detection", VLDB 2022.
"""

from __future__ import annotations

import numpy as np


def vus_pr(labels: np.ndarray, scores: np.ndarray, margin: int) -> float:
    """Return the mean area under precision and recall for margins of 0 to `margin` points; NaN without any label."""
    labels = np.asarray(labels, bool)
    if not labels.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    descending = np.asarray(scores)[order]
    ends = np.flatnonzero(
        np.r_[descending[1:] != descending[:-1], True]
    )  # points with equal scores are found together
    areas = [_area(labels, scores, width, order, ends) for width in range(margin + 1)]
    return float(np.mean(areas))


def _area(labels: np.ndarray, scores: np.ndarray, width: int, order: np.ndarray, ends: np.ndarray) -> float:
    soft = softened(labels, width)
    found = np.cumsum(soft[order])[ends]
    recall = np.minimum(found / ((labels.sum() + soft.sum()) / 2), 1)
    best = np.sort([scores[a:b].max() for a, b in ranges_of(soft > 0)])
    reached = len(best) - np.searchsorted(best, scores[order][ends], side="left")
    recall *= reached / len(best)
    precision = found / (ends + 1)
    return float(np.sum(np.diff(recall, prepend=0) * precision))


def softened(labels: np.ndarray, width: int) -> np.ndarray:
    """Return the labels with a margin of half a width on both sides, in which they fall to 0 as a circle does."""
    soft = labels.astype(np.float64)
    for begin, end in ranges_of(labels):
        away = np.arange(1, width // 2 + 1)
        height = np.sqrt(1 - away / width) if width else np.zeros(0)
        before, after = begin - away, end - 1 + away
        for places in (before, after):
            inside = (places >= 0) & (places < len(soft))
            soft[places[inside]] += height[inside]
    return np.minimum(soft, 1)


def ranges_of(flags: np.ndarray) -> list[tuple[int, int]]:
    """Return begin and end of each range of true values."""
    edges = np.flatnonzero(np.diff(np.r_[False, flags, False].astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
