"""Judging blocks with a student: as the template does, with a slow running mean of good blocks and that of the teacher over their steps."""

from __future__ import annotations

import numpy as np

from tamis.monitor.features import ObservedBlock
from tamis.monitor.follow import Distance
from tamis.monitor.model import ModeLimits
from tamis.monitor.sequence.old_reference import RecoveringJudge, RecoveringState
from tamis.monitor.sequence.scales import used_steps
from tamis.monitor.sequence.settings import REFERENCE_RATE
from tamis.monitor.template import BETWEEN, LATER, WITHIN


class StudentJudge(RecoveringJudge):
    """Judges the blocks of a stream in the order of time; its reference is the mean of blocks, then that of steps."""

    def _begin(self, block: ObservedBlock, limits: ModeLimits) -> None:
        nothing = np.zeros(2 * len(block.features), np.float32)
        residual = self._distance(block, nothing, limits, BETWEEN).residual
        reference = self._moved(residual, residual, 1.0)
        self.states[block.mode] = RecoveringState(reference, reference, block.key[0], age=1)

    def _distance(
        self,
        block: ObservedBlock,
        reference: np.ndarray,
        limits: ModeLimits,
        how: int,
        *,
        lenient: bool = True,
    ) -> Distance:
        """Return how far a block is from a reference; its residual has what `moved_means` takes."""
        found = super()._distance(block, reference, limits, how, lenient=lenient)
        residual = found.residual[: len(block.features)]
        recent = recent_part(block, np.asarray(limits.scale), self._on_steps, residual)
        score = found.score
        if how == LATER:
            near = super()._distance(block, reference, limits, WITHIN, lenient=lenient).score
            score = near if self.goes_on(block, near) else score
        return Distance(score, recent, found.change)

    def _moved(self, reference: np.ndarray, residual: np.ndarray, weight: float) -> np.ndarray:
        return moved_means(reference, residual, weight).astype(np.float32)


def recent_part(
    block: ObservedBlock, scale: np.ndarray, on_steps: np.ndarray, residual: np.ndarray
) -> np.ndarray:
    """Return the residual of a block, that of its steps with more weight on the later ones, and the weight that is left to what was before."""
    steps = used_steps(block)[0]
    weights = (1 - REFERENCE_RATE) ** np.arange(len(steps) - 1, -1, -1)
    recent = residual.astype(np.float64)
    if len(steps):
        recent[on_steps] += ((weights / weights.sum() - 1 / len(steps)) @ steps) / scale[on_steps]
    return np.concatenate([residual, recent, [(1 - REFERENCE_RATE) ** len(steps)]])


def moved_means(means: np.ndarray, part: np.ndarray, weight: float) -> np.ndarray:
    """Return both running means after a good block, of which `part` is the `recent_part`; with the weight 1 both begin with its residual."""
    size = len(part) // 2
    residual, recent, left = part[:size], part[size:-1], part[-1]
    if weight == 1:
        return np.tile(residual, 2)
    slow, fast = means[:size], means[size:]
    return np.concatenate([slow + weight * (residual - slow), left * fast + (1 - left) * recent])
