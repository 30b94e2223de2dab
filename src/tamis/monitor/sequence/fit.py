"""The limits of a recurrent monitor, and the scatter of its errors, from good blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tamis.monitor.detectors import FLOOR
from tamis.monitor.features import ObservedBlock, features_of
from tamis.monitor.model import ModeLimits
from tamis.monitor.sequence.cells import State
from tamis.monitor.sequence.network import SequenceNetwork
from tamis.monitor.sequence.scales import StepScale, step_table
from tamis.monitor.template import LAG
from tamis.monitor.training import FALSE_SCORES, LIMIT_MARGIN, burst_limits, tail_limit
from tamis.monitor.watch import Watch

SEGMENTS, WARM_UP = 64, 1800  # a stream is read in parts at once, each after the steps before it


@dataclass(frozen=True)
class FittedMode:
    """Limits of one mode, and the scatter of the errors of its network."""

    limits: ModeLimits
    scatter: tuple[float, float]
    peak: tuple[float, float]
    whitenings: dict[str, np.ndarray]  # of errors within a run, of its first block, against an old state


@dataclass(frozen=True)
class BlockErrors:
    """Errors of the mean of blocks of one stream, and the scatter of their steps."""

    within: np.ndarray  # (blocks, features)
    first: np.ndarray
    later: np.ndarray
    share: np.ndarray  # of the events of a typical block, of those within a run
    scatter: np.ndarray  # (blocks,)
    peak: np.ndarray


def block_errors(
    network: SequenceNetwork, weights: Mapping[str, Tensor], scale: StepScale, blocks: Sequence[ObservedBlock]
) -> BlockErrors:
    """Return the errors of good blocks of one stream."""
    table = step_table(scale, blocks)
    begin = np.unique(table.begin)
    last = np.append(begin[1:], len(table.x)) - 1
    outputs = _outputs_at(network, weights, table.x - table.reference, table.conditions, last)
    mean, reference = table.target[begin], table.after[last]
    conditions = torch.from_numpy(table.conditions[begin])
    run = np.array([one.key[0] for one in blocks])

    def errors(lag: int) -> np.ndarray:
        with torch.no_grad():
            expected = network.expected(weights, outputs[:-lag], conditions[lag:]).numpy()
        found: np.ndarray = (mean[lag:] - reference[:-lag] - expected).astype(np.float64)
        return found

    near, same = errors(1), run[1:] == run[:-1]
    old = errors(LAG)[run[LAG:] == run[:-LAG]] if len(run) > LAG else near[:0]
    events = np.array([one.events for one in blocks[1:]])[same]
    own = [_scatter_of(table.x[a : b + 1]) for a, b in zip(begin, last, strict=True)]
    scatter, peak = np.array(own).T
    return BlockErrors(near[same], near[~same], old, np.minimum(1, events / scale.events[0]), scatter, peak)


def _outputs_at(
    network: SequenceNetwork,
    weights: Mapping[str, Tensor],
    change: np.ndarray,
    conditions: np.ndarray,
    wanted: np.ndarray,
) -> Tensor:
    """Return the outputs of the cells at some steps of one stream, (steps, width)."""
    length = -(-len(change) // SEGMENTS)
    begin = (np.arange(SEGMENTS) * length)[:, None]
    steps = np.maximum(begin - WARM_UP, 0) + np.arange(min(WARM_UP, len(change)) + length)[None]
    own_steps = (steps >= begin) & (steps < np.minimum(begin + length, len(change)))
    place = np.minimum(steps, len(change) - 1)
    found = torch.zeros(len(change), network.width)
    state: State = tuple(torch.zeros(SEGMENTS, *shape) for shape in network.state_shapes().values())
    with torch.no_grad():
        for start in range(0, steps.shape[1], 512):
            own, kept = place[:, start : start + 512], own_steps[:, start : start + 512]
            x, c = torch.from_numpy(change[own]), torch.from_numpy(conditions[own])
            output, state = network.sequence(weights, x, c, state)
            found[torch.from_numpy(own[kept])] = output[torch.from_numpy(kept)]
    return found[torch.from_numpy(wanted)]


def _scatter_of(x: np.ndarray) -> tuple[float, float]:
    """Return mean and maximum of the scatter of the steps of a block, as the step graph computes them."""
    number = np.arange(1, len(x) + 1)[:, None]
    mean = np.cumsum(x, axis=0, dtype=np.float64) / number
    before = np.vstack([x[:1], mean[:-1]])
    scatter = ((x - before) ** 2).mean(axis=1) * (1 - 1 / number[:, 0])
    return float(scatter.mean()), float(scatter.max())


def fit_sequence_mode(
    network: SequenceNetwork,
    weights: Mapping[str, Tensor],
    scale: StepScale,
    streams: Sequence[Sequence[ObservedBlock]],
    watch: Watch,
) -> FittedMode:
    """Return the limits of one mode."""
    parts = [block_errors(network, weights, scale, blocks) for blocks in streams]
    within = np.concatenate([one.within for one in parts])
    first = np.concatenate([one.first for one in parts])
    later = np.concatenate([one.later for one in parts])
    share = np.concatenate([one.share for one in parts])
    # Blocks of full length alone, since shorter ones scatter more, which the score takes into account.
    covariance = np.cov(within[share > 0.9].T) + FLOOR**2 * np.eye(within.shape[1])
    moved = first.T @ first / max(1, len(first))
    old = later.T @ later / len(later) if len(later) else moved
    # Without their correlations, as a few runs do not span all directions.
    between = 2 * covariance + moved + 0.1 * np.diag(np.diag(moved))
    whitenings = {
        "within": whitening(covariance),
        "between": whitening(between),
        "later": whitening(covariance + old),
    }
    limit = LIMIT_MARGIN * tail_limit(squared(within, whitenings["within"]) * share, FALSE_SCORES)
    outer = squared(first, whitenings["between"])
    to_change = scale.unwhiten
    every = [one for blocks in streams for one in blocks]
    most, edges = burst_limits(every, watch)
    limits = ModeLimits(
        within=limit, between=max(limit, 3 * float(outer.max())) if len(outer) else limit, events=float(scale.events[0]),
        most=most, most_edges=edges, blocks=len(every), scale=_with_unrest(watch, scale.scale[None], 1.0)[0].tolist(),
        covariance=_covariance(watch, to_change.T @ covariance @ to_change),
        later_covariance=_covariance(watch, to_change.T @ (covariance + old) @ to_change),
    )  # fmt: skip
    scatter, peak = (np.concatenate([getattr(one, name) for one in parts]) for name in ("scatter", "peak"))
    return FittedMode(limits, usual_and_limit(scatter), usual_and_limit(peak), whitenings)


def usual_and_limit(values: np.ndarray) -> tuple[float, float]:
    """Return the median, and the limit that good blocks exceed half as often as that of the score."""
    return float(np.median(values)), LIMIT_MARGIN * tail_limit(values, FALSE_SCORES / 2)


def squared(errors: np.ndarray, whiten: np.ndarray) -> np.ndarray:
    """Return the squared length of whitened errors."""
    found: np.ndarray = ((errors @ whiten) ** 2).sum(axis=1)
    return found


def whitening(covariance: np.ndarray) -> np.ndarray:
    """Return a matrix that takes errors to numbers of unit variance."""
    values, vectors = np.linalg.eigh(covariance)
    found: np.ndarray = vectors / np.sqrt(np.maximum(values, FLOOR**2))
    return found


def _covariance(watch: Watch, covariance: np.ndarray) -> list[list[float]]:
    """Return a covariance with the unrest, of which the steps know nothing."""
    once = _with_unrest(watch, covariance, 0.0)
    whole = _with_unrest(watch, once.T, 0.0)
    unrest = [k for k, one in enumerate(features_of(watch)) if one.of == "unrest"]
    whole[unrest, unrest] = 1.0
    nested: list[list[float]] = whole.tolist()
    return nested


def _with_unrest(watch: Watch, values: np.ndarray, filler: float) -> np.ndarray:
    """Return step features, (rows, step features), as features of blocks."""
    known = [one.of != "unrest" for one in features_of(watch)]
    found = np.full((len(values), len(known)), filler)
    found[:, known] = values
    return found
