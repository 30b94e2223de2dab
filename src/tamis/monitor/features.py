"""The features of a block: counts, means and widths of its quantities, and how much they change from step to step."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tamis.monitor.sums import BlockKey, BlockSums
from tamis.monitor.watch import Watch, WatchedQuantity

CALMEST = 1e-3  # of the means of steps: rare bits may be spread evenly by chance


@dataclass(frozen=True)
class BlockFeature:
    """What one number of the features is."""

    region: str
    quantity: str  # n for the number of values
    of: str  # number, mean, width, unrest


@dataclass(frozen=True)
class ObservedBlock:
    """A block as it is judged, kept and judged again."""

    key: BlockKey
    features: np.ndarray  # not a number where a quantity has no values
    condition: float
    luminosity: float
    mode: int
    events: int
    broken: int  # values that are not numbers
    step: np.ndarray
    most: np.ndarray  # (steps, counts)
    step_events: np.ndarray
    step_features: np.ndarray  # (steps, step features) float32, not a number where a quantity has no values


def features_of(watch: Watch) -> list[BlockFeature]:
    """Return what the features are, in their order."""
    return [
        BlockFeature(one.region, "n" if of == "number" else one.name, of)
        for one, has_number in zip(watch.quantities, _wanted(watch)[:, 0], strict=True)
        for of in (("number",) if has_number else ()) + ("mean", "width", "unrest")
    ]


def steps_have(watch: Watch) -> np.ndarray:
    """Return which features of a block its steps have as well: all but the unrest."""
    return np.array([one.of != "unrest" for one in features_of(watch)])


def step_features_of(watch: Watch) -> list[BlockFeature]:
    """Return what the features of a step are, in their order."""
    return [one for one in features_of(watch) if one.of != "unrest"]


def observed(block: BlockSums, watch: Watch) -> ObservedBlock:
    """Return the features of a block and its conditions.

    A number of values is per event. `unrest` is the logarithm of the variance of the means of steps, over what their values make of it.
    """
    whole = block.sums.sum(axis=0)
    events = int(block.events.sum())
    with np.errstate(all="ignore"):
        number = whole[:, 0] / events
        mean, width = _mean_and_width(whole)
        of_steps, width_of_steps = _mean_and_width(block.sums)
        number_of_steps = block.sums[..., 0] / block.events[:, None]
        used = block.sums[..., 0] > 1
        ratio = np.where(used, (of_steps - mean) ** 2 * block.sums[..., 0] / width**2, 0)
        unrest = _unrest(ratio, used, width)
    unit = np.array([one.resolution for one in watch.quantities])
    table = np.stack([number, mean * unit, width * unit, unrest], axis=1)
    wanted = _wanted(watch)
    steps = np.stack([number_of_steps, of_steps * unit, width_of_steps * unit], axis=2)
    return ObservedBlock(
        block.key, table[wanted], block.condition, block.luminosity, block.mode, events, int(whole[:, 3].sum()), block.step, block.most,
        block.events, steps[:, wanted[:, :3]].astype(np.float32),
    )  # fmt: skip


def without_steps(block: ObservedBlock, watch: Watch, left_out: np.ndarray) -> ObservedBlock:
    """Return a block without some of its steps, (steps,) booleans; its features follow from those of the other steps."""
    kept, wanted = ~left_out, _wanted(watch)
    events = block.step_events[kept]
    steps = np.zeros((len(events), *wanted[:, :3].shape))
    steps[:, wanted[:, :3]] = block.step_features[kept]
    sources = [_number_source(one) for one in watch.quantities]
    values = steps[:, [sources.index(one) for one in sources], 0] * events[:, None]
    means, widths = np.where(values[..., None] > 0, steps[..., 1:], 0).transpose(2, 0, 1)
    with np.errstate(all="ignore"):
        total = values.sum(axis=0)
        mean = (values * means).sum(axis=0) / total
        width = np.sqrt((values * (widths**2 + (means - mean) ** 2)).sum(axis=0) / total)
        used = values > 1
        ratio = np.where(used, (means - mean) ** 2 * values / width**2, 0)
        unrest = _unrest(ratio, used, width)
    table = np.stack([total / events.sum(), mean, width, unrest], axis=1)
    return replace(
        block, features=table[wanted], events=int(events.sum()), step=block.step[kept], most=block.most[kept], step_events=events,
        step_features=block.step_features[kept],
    )  # fmt: skip


def _unrest(ratio: np.ndarray, used: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Return the unrest of each quantity; 0 for one that is the same everywhere, such as the bit of a path that accepts nothing."""
    variance = ratio.sum(axis=0) / np.maximum(used.sum(axis=0) - 1, 1)
    return np.where(width == 0, 0.0, np.log(np.maximum(variance, CALMEST)))


def _wanted(watch: Watch) -> np.ndarray:
    """Return which of number, mean, width and unrest of the quantities are features: the number once for those of the same values."""
    wanted = np.ones((len(watch.quantities), 4), bool)
    sources = [_number_source(one) for one in watch.quantities]
    wanted[:, 0] = [sources.index(one) == k for k, one in enumerate(sources)]
    return wanted


def _number_source(quantity: WatchedQuantity) -> tuple[str, str]:
    values = quantity.sums[0] if quantity.sums is not None else str(quantity.values).partition("_")[0]
    return quantity.region, values


def _mean_and_width(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and width, in units of the resolution."""
    number = sums[..., 0].astype(np.float64)
    mean = sums[..., 1] / number
    # Exact integers first: n S2 - S1^2 would lose all digits in floating point where the mean is far from 0.
    shifted = np.rint(mean)
    whole = np.where(np.isfinite(shifted), shifted, 0).astype(np.int64)
    second = sums[..., 2] - 2 * whole * sums[..., 1] + whole * whole * sums[..., 0]
    variance = second / number - (mean - whole) ** 2
    return mean, np.sqrt(np.maximum(variance, 0))
