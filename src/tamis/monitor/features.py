"""The features of a block: counts, means and widths of its quantities, and how much they change from step to step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.monitor.sums import BlockKey, BlockSums
from tamis.monitor.watch import Watch, WatchedQuantity


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
        for one, has_number in zip(watch.quantities, _numbered(watch), strict=True)
        for of in (("number",) if has_number else ()) + ("mean", "width", "unrest")
    ]


def step_features_of(watch: Watch) -> list[BlockFeature]:
    """Return what the features of a step are, in their order: those of a block, without the unrest."""
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
        unrest = np.log(ratio.sum(axis=0) / np.maximum(used.sum(axis=0) - 1, 1))
    unit = np.array([one.resolution for one in watch.quantities])
    table = np.stack([number, mean * unit, width * unit, unrest], axis=1)
    wanted = np.ones(table.shape, bool)
    wanted[:, 0] = _numbered(watch)
    steps = np.stack([number_of_steps, of_steps * unit, width_of_steps * unit], axis=2)
    return ObservedBlock(
        block.key, table[wanted], block.condition, block.luminosity, block.mode, events, int(whole[:, 3].sum()), block.step, block.most,
        block.events, steps[:, wanted[:, :3]].astype(np.float32),
    )  # fmt: skip


def _numbered(watch: Watch) -> list[bool]:
    """Return for which quantities the number of values is a feature: once for those of the same values."""
    seen: set[tuple[str, str]] = set()
    result = []
    for one in watch.quantities:
        source = one.region, _number_source(one)
        result.append(source not in seen)
        seen.add(source)
    return result


def _number_source(quantity: WatchedQuantity) -> str:
    return quantity.sums[0] if quantity.sums is not None else str(quantity.values).partition("_")[0]


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
