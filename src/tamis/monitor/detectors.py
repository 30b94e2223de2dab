"""The detectors that compare a block with a template: what they compare it with, and how they measure the distance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FLOOR = 1e-4  # of relative scatter: smaller ones are not trusted
EXPLAINED = 0.95  # of the variance, by the components that PCA takes for normal


@dataclass(frozen=True)
class StreamDetector:
    """One way of comparing."""

    name: str
    conditional: bool  # with what the condition, such as the pile-up, makes of the features
    follows: bool  # with the recent good blocks of the run
    whitening: Callable[
        [np.ndarray], np.ndarray
    ]  # of a covariance: matrix W, so that |x W|^2 is the score of a change x


def correlated(covariance: np.ndarray) -> np.ndarray:
    """Return the matrix whose score is the Mahalanobis distance."""
    values, vectors = np.linalg.eigh(covariance)
    whitening: np.ndarray = vectors / np.sqrt(np.maximum(values, FLOOR**2 / 100))
    return whitening


def each_alone(covariance: np.ndarray) -> np.ndarray:
    """Return the matrix whose score is the sum of squared pulls."""
    return np.diag(1 / np.sqrt(np.maximum(np.diag(covariance), FLOOR**2 / 100)))


def beyond_components(covariance: np.ndarray) -> np.ndarray:
    """Return the matrix whose score is what the principal components of good blocks leave of the squared pulls (Q statistic)."""
    alone = each_alone(covariance)
    values, vectors = np.linalg.eigh(alone @ covariance @ alone)
    left = np.cumsum(values) <= (1 - EXPLAINED) * values.sum()  # in ascending order
    left[0] = True
    whitening: np.ndarray = alone @ vectors * left
    return whitening


DETECTORS = {
    one.name: one
    for one in (
        StreamDetector("template", conditional=True, follows=True, whitening=correlated),
        StreamDetector("mahalanobis", conditional=True, follows=False, whitening=correlated),
        StreamDetector("ewma", conditional=False, follows=True, whitening=each_alone),
        StreamDetector("pca", conditional=False, follows=False, whitening=beyond_components),
    )
}
