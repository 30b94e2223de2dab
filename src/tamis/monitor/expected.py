"""What the features of a block were expected to be: the values, and the scatter of good blocks around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tamis.monitor.features import ObservedBlock
from tamis.monitor.follow import Verdict
from tamis.monitor.model import ModeLimits
from tamis.monitor.template import BETWEEN, LATER


@dataclass(frozen=True)
class Expected:
    """What the features of a block were compared with, in their units."""

    value: np.ndarray
    spread: np.ndarray  # one standard deviation of good blocks; NaN where the model does not have it
    pull: np.ndarray  # how far it was, in standard deviations; in the region of the fault, beyond what the others show as well


@dataclass(frozen=True)
class BlockEvidence:
    """When a block was judged, how long it took, and what it was compared with."""

    time: float  # seconds since 1970
    judging: float  # seconds
    expected: Expected | None = None


def expected_features(
    block: ObservedBlock, verdict: Verdict, limits: ModeLimits, beyond: Mapping[int, float]
) -> Expected:
    """Return the expected features of a block that was scored; the scatter is that of the comparison behind its score."""
    scale = np.array(limits.scale)
    value = block.features - np.asarray(verdict.change, np.float64) * scale
    if verdict.compared == BETWEEN:
        spread = np.array(limits.between_spread or [np.nan] * len(scale))
    else:
        covariance = limits.later_covariance if verdict.compared == LATER else limits.covariance
        spread = np.sqrt(np.diag(np.array(covariance)))
    spread = spread * np.abs(scale)
    with np.errstate(divide="ignore", invalid="ignore"):
        pull = (block.features - value) / spread
    for feature, own in beyond.items():
        pull[feature] = own
    return Expected(value, spread, pull)


def packed_expected(expected: Expected) -> bytes:
    """Return what was expected as bytes."""
    return np.stack([expected.value, expected.spread, expected.pull]).astype("<f4").tobytes()


def unpacked_expected(content: bytes) -> Expected:
    """Return what was expected of some bytes."""
    value, spread, pull = np.frombuffer(content, "<f4").reshape(3, -1)
    return Expected(value, spread, pull)
