"""The template of a beam mode: what its good blocks are like, and how much they and their steps scatter around their reference.

The reference is the running mean of the recent good blocks of the run; it stays 0 for detectors that do not follow them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tamis._base import DataError
from tamis.monitor.detectors import FLOOR, StreamDetector
from tamis.monitor.features import ObservedBlock

POWERS = 3  # 1, c, c^2 of the condition: more of them leave the range of the training too fast
# How a block, or one of its steps, is compared: within a run, as its first block, long after its reference.
HOWS = range(6)
WITHIN, BETWEEN, LATER, STEP, FIRST_STEP, LATER_STEP = HOWS
LAG = 30  # blocks, for a reference that is old
MEMORY = 0.2  # weight of the newest block in the reference
BLOCKS_MIN = 100  # of a mode, to fit it


@dataclass(frozen=True)
class Expectation:
    """What good blocks of one beam mode are like, given the condition."""

    scale: np.ndarray  # (features,)
    condition: float  # typical
    powers: np.ndarray  # (POWERS, features): in units of the scale
    events: float  # of a typical block
    step_events: float  # of a typical step

    def of(self, blocks: Sequence[ObservedBlock]) -> np.ndarray:
        """Return the features that are expected of blocks, in units of the scale."""
        expected: np.ndarray = (
            powers_of(np.array([one.condition for one in blocks]), self.condition) @ self.powers
        )
        return expected

    def residuals(self, blocks: Sequence[ObservedBlock]) -> np.ndarray:
        """Return the features of blocks less what is expected of them, in units of the scale."""
        found: np.ndarray = np.stack([one.features for one in blocks]) / self.scale - self.of(blocks)
        return found


@dataclass(frozen=True)
class ModeTemplate:
    """What good blocks of one beam mode are like, and what they scatter."""

    expectation: Expectation
    whitening: (
        np.ndarray
    )  # (HOWS, features, features): the squared length of a change times this is its score
    covariance: np.ndarray  # of changes within a run
    later_covariance: np.ndarray  # of changes against a reference that is `LAG` blocks old
    step_covariance: np.ndarray  # of the changes of steps within a run; (step features, step features)
    between_spread: np.ndarray  # standard deviations of the first block of a run, (features,)


@dataclass(frozen=True)
class Changes:
    """How far the good blocks of a stream and their steps are from their reference, in the order of time."""

    residual: np.ndarray  # (blocks, features): less what their condition makes of them
    change: np.ndarray  # (blocks, features): less the reference as well
    run: np.ndarray
    is_first: np.ndarray  # of their run
    of_steps: np.ndarray  # (steps, step features)
    block: np.ndarray  # of each step


def powers_of(condition: np.ndarray, typical: float) -> np.ndarray:
    """Return the functions of the condition that features are expected to follow, (blocks, POWERS)."""
    c = np.asarray(condition) / typical
    return np.stack([np.ones_like(c), c, c**2], axis=1)


def fit_mode(
    streams: Sequence[Sequence[ObservedBlock]], on_steps: np.ndarray, detector: StreamDetector
) -> ModeTemplate:
    """Fit the template of one mode to good blocks of one stream or more, each in the order of time.

    `on_steps` tells which features the steps of a block have as well.
    """
    expectation = fit_expectation([one for stream in streams for one in stream], detector)
    of_streams = [changes_of_blocks(expectation, stream, on_steps, detector) for stream in streams]
    size = len(on_steps)
    nothing = np.zeros((size, size))
    covariance = _covariance(np.concatenate([one.change[~one.is_first] for one in of_streams]))
    between_steps = np.ix_(on_steps, on_steps)
    step_covariance = _covariance(
        np.concatenate([one.of_steps[~one.is_first[one.block]] for one in of_streams])
    )
    jumps = slow = nothing
    if detector.follows:
        jumps = _second_moment(np.concatenate([one.change[one.is_first][1:] for one in of_streams]))
        old = np.concatenate([later_changes(one) for one in of_streams])
        slow = _second_moment(old) if len(old) else jumps
    # Without their correlations, as a few runs do not span all directions.
    first = jumps + np.diag(0.1 * np.diag(jumps))
    whitening = np.zeros((len(HOWS), size, size))
    for how, more in ((WITHIN, nothing), (BETWEEN, covariance * detector.follows + first), (LATER, slow)):
        whitening[how] = detector.whitening(covariance + more)
    for how, more in ((STEP, nothing), (FIRST_STEP, covariance + first), (LATER_STEP, slow)):
        whitening[how][between_steps] = detector.whitening(step_covariance + more[between_steps])
    spread = np.sqrt(np.diag(covariance + covariance * detector.follows + first))
    return ModeTemplate(expectation, whitening, covariance, covariance + slow, step_covariance, spread)


def fit_expectation(blocks: Sequence[ObservedBlock], detector: StreamDetector) -> Expectation:
    """Fit what good blocks of one mode are like."""
    if len(blocks) < BLOCKS_MIN:
        raise DataError(
            f"there are {len(blocks)} good blocks of a beam mode; at least {BLOCKS_MIN} are needed"
        )
    features = np.stack([one.features for one in blocks])
    condition = np.array([one.condition for one in blocks])
    scale = np.maximum(np.abs(features.mean(axis=0)), features.std(axis=0))
    scale[scale == 0] = 1.0
    typical = float(np.median(condition)) or 1.0
    used = POWERS if detector.conditional else 1
    powers = np.zeros((POWERS, len(scale)))
    powers[:used], *_ = np.linalg.lstsq(
        powers_of(condition, typical)[:, :used], features / scale, rcond=1e-10
    )
    steps = np.concatenate([one.step_events for one in blocks])
    return Expectation(
        scale, typical, powers, float(np.median([one.events for one in blocks])), float(np.median(steps))
    )


def changes_of_blocks(
    expectation: Expectation, blocks: Sequence[ObservedBlock], on_steps: np.ndarray, detector: StreamDetector
) -> Changes:
    """Return the changes of good blocks and of their steps against their reference."""
    expected, residual = expectation.of(blocks), expectation.residuals(blocks)
    run = np.array([one.key[0] for one in blocks])
    if detector.follows:
        change, is_first = changes_of(residual, run)
    else:
        change, is_first = residual, np.zeros(len(blocks), bool)
    block = np.repeat(np.arange(len(blocks)), [len(one.step) for one in blocks])
    compared = (expected + residual - change)[:, on_steps]
    steps = np.concatenate([one.step_features for one in blocks]) / expectation.scale[on_steps]
    of_steps = np.nan_to_num(steps - compared[block], posinf=0, neginf=0)  # without values there is no change
    return Changes(residual, change, run, is_first, of_steps, block)


def changes_of(residual: np.ndarray, run: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the changes of good blocks against a reference that follows them, and which are the first of their run."""
    changes, is_first = np.zeros_like(residual), np.zeros(len(residual), bool)
    reference, age = residual[0], 0
    for k, own in enumerate(residual):
        is_first[k] = k == 0 or run[k] != run[k - 1]
        age = 0 if is_first[k] else age
        changes[k] = own - reference
        reference = own if age == 0 else reference + weight_of(age) * changes[k]
        age += 1
    return changes, is_first


def later_changes(changes: Changes) -> np.ndarray:
    """Return the changes of good blocks against a reference that is `LAG` blocks old, within a run."""
    reference = changes.residual - changes.change
    same = changes.run[LAG:] == changes.run[:-LAG]
    found: np.ndarray = (changes.residual[LAG:] - reference[:-LAG])[same]
    return found


def weight_of(age: int) -> float:
    """Return the weight of a block in the reference, after `age` blocks of its run."""
    return max(MEMORY, 1 / (age + 1))


def _covariance(changes: np.ndarray) -> np.ndarray:
    return np.cov(changes.T) + FLOOR**2 * np.eye(changes.shape[1])


def _second_moment(changes: np.ndarray) -> np.ndarray:
    moment: np.ndarray = changes.T @ changes / max(len(changes), 1)
    return moment
