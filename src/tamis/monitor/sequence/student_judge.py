"""Judging blocks with a student: as the template does, with a slow and a fast running mean of good blocks."""

from __future__ import annotations

import numpy as np

from tamis.monitor.features import ObservedBlock
from tamis.monitor.follow import BlockJudge, ModeState
from tamis.monitor.model import ModeLimits
from tamis.monitor.template import BETWEEN

FAST = (
    0.64  # weight of the newest block in the fast mean: that of 60 steps in the running mean of the teacher
)


class StudentJudge(BlockJudge):
    """Judges the blocks of a stream in the order of time; its reference is the slow mean, then the fast one."""

    def _begin(self, block: ObservedBlock, limits: ModeLimits) -> None:
        nothing = np.zeros(2 * len(block.features), np.float32)
        reference = self._distance(block, nothing, limits, BETWEEN).residual.astype(np.float32)
        self.states[block.mode] = ModeState(reference, reference, block.key[0], age=1)

    def _moved(self, reference: np.ndarray, residual: np.ndarray, weight: float) -> np.ndarray:
        return moved_means(reference, residual, weight).astype(np.float32)


def moved_means(means: np.ndarray, residual: np.ndarray, weight: float) -> np.ndarray:
    """Return both running means after a good block."""
    half = len(means) // 2
    rate = np.where(np.arange(len(means)) < half, weight, max(FAST, weight))
    moved: np.ndarray = means + rate * (residual - means)
    return moved
