"""What good steps of one beam mode are like: their dependence on the pile-up, and their scatter, which is made white."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from tamis._base import DataError
from tamis.monitor.detectors import FLOOR
from tamis.monitor.features import ObservedBlock
from tamis.monitor.sequence.settings import REFERENCE_RATE
from tamis.monitor.template import BLOCKS_MIN, powers_of

FULL_STEP = 0.5  # of the events of a typical step of its block: others scatter more


@dataclass(frozen=True)
class StepScale:
    """How steps of one mode are scaled."""

    centre: np.ndarray  # (features,) float32: subtracted first, which is exact, so that no digits are lost
    scale: np.ndarray  # (features,)
    condition: np.ndarray  # (1,): typical
    luminosity: np.ndarray  # (1,): typical
    expected: np.ndarray  # (powers, features): beyond the centre, in units of the scale
    whiten: np.ndarray  # (features, features): takes residuals to numbers whose scatter within a block is 1
    unwhiten: np.ndarray  # (features, features): back
    events: np.ndarray  # (1,): of a typical block

    def residual(self, features: np.ndarray, condition: np.ndarray) -> np.ndarray:
        """Return features less what the condition makes of them, whitened, (rows, features)."""
        powers = powers_of(np.asarray(condition) - self.condition[0], float(self.condition[0]))
        found: np.ndarray = ((features - self.centre) / self.scale - powers @ self.expected) @ self.whiten
        return found

    def conditions(self, block: ObservedBlock) -> np.ndarray:
        """Return the conditions of a block as the network reads them."""
        return np.array([block.condition / self.condition[0] - 1, block.luminosity / self.luminosity[0] - 1])


def fit_scale(blocks: Sequence[ObservedBlock]) -> StepScale:
    """Fit the scales of one mode to good blocks."""
    if len(blocks) < BLOCKS_MIN:
        raise DataError(
            f"there are {len(blocks)} good blocks of a beam mode; at least {BLOCKS_MIN} are needed"
        )
    means = np.stack([used_steps(one)[0].mean(axis=0, dtype=np.float64) for one in blocks])
    condition = np.array([one.condition for one in blocks])
    scale = np.maximum(np.abs(means.mean(axis=0)), means.std(axis=0))
    scale[scale == 0] = 1.0
    typical = float(np.median(condition)) or 1.0
    centre = means.mean(axis=0).astype(np.float32).astype(np.float64)
    powers = powers_of(condition - typical, typical)
    expected, *_ = np.linalg.lstsq(powers, (means - centre) / scale, rcond=1e-10)
    scatter = np.concatenate(
        [(used_steps(one)[0] - mean) / scale for one, mean in zip(blocks, means, strict=True)]
    )
    covariance = scatter.T @ scatter / max(1, len(scatter) - len(blocks)) + FLOOR**2 * np.eye(len(scale))
    values, vectors = np.linalg.eigh(covariance)
    return StepScale(
        centre, scale, np.array([typical]), np.array([float(np.median([one.luminosity for one in blocks])) or 1.0]), expected,
        vectors / np.sqrt(values), (vectors * np.sqrt(values)).T, np.array([float(np.median([one.events for one in blocks]))]),
    )  # fmt: skip


def used_steps(block: ObservedBlock) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps of a block that have all features and at least half of the usual events, and their numbers of events."""
    complete = np.isfinite(block.step_features).all(axis=1)
    ordered = np.sort(block.step_events)  # numpy's median takes ten times as long
    middle = ordered[(len(ordered) - 1) // 2 : len(ordered) // 2 + 1]
    complete &= block.step_events >= FULL_STEP * middle.mean()
    return block.step_features[complete], block.step_events[complete]


@dataclass(frozen=True)
class StepTable:
    """The steps of one stream, one after the other."""

    x: np.ndarray  # (steps, features) float32: whitened residuals
    target: np.ndarray  # (steps, features) float32: their mean in the block
    reference: np.ndarray  # (steps, features) float32: the running mean before each step
    after: np.ndarray  # (steps, features) float32: the running mean after each step
    conditions: np.ndarray  # (steps, conditions) float32
    begin: np.ndarray  # (steps,): the first step of its block
    counted: np.ndarray  # (steps,): whether its block is not the first of a run


def step_table(scale: StepScale, blocks: Sequence[ObservedBlock]) -> StepTable:
    """Return the steps of good blocks of a stream; a run has a running mean of its own, which begins with its first block."""
    x, target, conditions, begin, counted, before, after = [], [], [], [], [], [], []
    reference, run, place = np.zeros(len(scale.scale)), -1, 0
    for block in blocks:
        own = scale.residual(used_steps(block)[0], np.array([block.condition]))
        means = np.empty((len(own) + 1, len(reference)))
        means[0] = reference
        for k, row in enumerate(own):
            means[k + 1] = means[k] + REFERENCE_RATE * (row - means[k])
        is_first = block.key[0] != run
        mean = own.mean(axis=0)
        reference = mean if is_first else means[-1]
        means[-1] = reference
        run = block.key[0]
        before.append(means[:-1])
        after.append(means[1:])
        x.append(own)
        target.append(np.tile(mean, (len(own), 1)))
        conditions.append(np.tile(scale.conditions(block), (len(own), 1)))
        begin.append(np.full(len(own), place))
        counted.append(np.full(len(own), not is_first))
        place += len(own)

    def whole(parts: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(parts).astype(np.float32)

    return StepTable(
        whole(x), whole(target), whole(before), whole(after), whole(conditions), np.concatenate(begin), np.concatenate(counted)
    )  # fmt: skip


SCALE_NAMES = tuple(one.name for one in fields(StepScale))
