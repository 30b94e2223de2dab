"""Training of the template detector on good blocks, and its limits by the tails of their scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tamis._base import DataError
from tamis.bundle import Packed
from tamis.monitor.alarms import pair_scores, weight_of_events
from tamis.monitor.detectors import DETECTORS, StreamDetector
from tamis.monitor.features import ObservedBlock, observed, steps_have
from tamis.monitor.follow import unusable
from tamis.monitor.model import ModeLimits, MonitorModel, StepLimits
from tamis.monitor.packing import pack_monitor
from tamis.monitor.stream import stream_blocks
from tamis.monitor.template import (
    BETWEEN,
    FIRST_STEP,
    HOWS,
    STEP,
    WITHIN,
    Changes,
    ModeTemplate,
    changes_of_blocks,
    fit_mode,
)
from tamis.monitor.template_graph import template_graph
from tamis.monitor.watch import Watch

# Alarms per good block, for which the limits are set.
FALSE_SCORES, FALSE_BURSTS, FALSE_STEPS = 2e-4, 2e-4, 1e-4
FITTED_SHARE, FITTED_MOST = 0.02, 2000  # of the scores, in the fit of their tail
LIMIT_MARGIN = 1.15  # of the limit, for what the training has not seen
CONDITION_BINS = 10
STEEPEST_TAIL = 0.5  # ratio of the numbers of steps with at least k + 1 and with at least k
GOLDEN_BLOCKS = 64


def good_blocks(blocks: Iterable[ObservedBlock]) -> dict[int, list[ObservedBlock]]:
    """Return the blocks of each mode that can be used, in the order of time."""
    kept: dict[int, list[ObservedBlock]] = {}
    for block in blocks:
        if block.mode > 0 and not unusable(block):
            kept.setdefault(block.mode, []).append(block)
    return kept


def fit_limits(
    template: ModeTemplate,
    streams: Sequence[Sequence[ObservedBlock]],
    watch: Watch,
    detector: StreamDetector,
) -> ModeLimits:
    """Return the limits of a mode from good blocks."""
    expectation = template.expectation
    kinds = "within", "between", "step", "step_pair", "first_step"
    parts: dict[str, list[np.ndarray]] = {kind: [] for kind in kinds}
    for blocks in streams:
        changes = changes_of_blocks(expectation, blocks, steps_have(watch), detector)
        for kind, scores in _scores_of_good(template, changes, blocks, watch).items():
            parts[kind].append(scores)
    good = {kind: np.concatenate(part) for kind, part in parts.items()}
    everything = [one for blocks in streams for one in blocks]
    false_steps = FALSE_STEPS * len(everything) / len(good["step"])
    limit = LIMIT_MARGIN * tail_limit(good["within"], FALSE_SCORES)
    low, high = tail_interval(good["within"], FALSE_SCORES)
    step = LIMIT_MARGIN * tail_limit(good["step"], false_steps)
    most, edges = burst_limits(everything, watch)
    return ModeLimits(
        within=limit, within_interval=(LIMIT_MARGIN * low, LIMIT_MARGIN * high), between=max(limit, 3 * float(good["between"].max(initial=0))), events=expectation.events, most=most, most_edges=edges,
        blocks=len(everything), scale=expectation.scale.tolist(), covariance=template.covariance.tolist(),
        later_covariance=template.later_covariance.tolist(), between_spread=tuple(template.between_spread.tolist()),
        steps=StepLimits(
            alone=step, pair=LIMIT_MARGIN * tail_limit(good["step_pair"], false_steps), first=max(step, 2 * float(good["first_step"].max(initial=0))),
            events=expectation.step_events, covariance=template.step_covariance.tolist(),
        ),
    )  # fmt: skip


def _scores_of_good(
    template: ModeTemplate, changes: Changes, blocks: Sequence[ObservedBlock], watch: Watch
) -> dict[str, np.ndarray]:
    """Return the scores of the good blocks of a stream and of their steps, as they are compared."""
    expectation, whitening, first = template.expectation, template.whitening, changes.is_first
    of_blocks = weight_of_events(np.array([one.events for one in blocks]), expectation.events)
    of_steps = weight_of_events(np.concatenate([one.step_events for one in blocks]), expectation.step_events)
    on_steps, is_first = whitening[:, steps_have(watch)], first[changes.block]
    steps = _scores(changes.of_steps, of_steps, on_steps[STEP])
    return {
        "within": _scores(changes.change, of_blocks, whitening[WITHIN])[~first],
        "between": _scores(changes.change, of_blocks, whitening[BETWEEN])[first][1:],
        "step": steps[~is_first],
        "step_pair": pair_scores(steps, changes.block)[~is_first],
        "first_step": _scores(changes.of_steps, of_steps, on_steps[FIRST_STEP])[
            is_first & (changes.block > 0)
        ],
    }


def _scores(changes: np.ndarray, weight: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    scores: np.ndarray = np.square((changes * weight[:, None]) @ whitening).sum(axis=1)
    return scores


def burst_limits(blocks: Sequence[ObservedBlock], watch: Watch) -> tuple[dict[str, list[int]], list[float]]:
    """Return from which number on a step has a burst, for each count in bins of the condition, and the edges of the bins."""
    condition = np.concatenate([np.full(len(one.step), one.condition) for one in blocks])
    edges = condition_edges(condition)
    at = np.searchsorted(edges, condition)
    most = np.concatenate([one.most for one in blocks])
    per_step = FALSE_BURSTS / max(1, len(watch.counts)) / (len(condition) / len(blocks))
    limits = {
        f"{count.region} {count.name}": [
            least_burst(most[at == k, c], per_step) for k in range(len(edges) + 1)
        ]
        for c, count in enumerate(watch.counts)
    }
    return limits, edges.tolist()


def condition_edges(condition: np.ndarray) -> np.ndarray:
    """Return edges between bins of the condition, each with a fair share of the steps: many have the same condition."""
    edges: list[float] = []
    for edge in np.quantile(condition, np.linspace(0, 1, CONDITION_BINS + 1)[1:-1]).tolist():
        low = edges[-1] if edges else -np.inf
        inside, above = np.mean((condition > low) & (condition <= edge)), np.mean(condition > edge)
        if min(inside, above) > 0.5 / CONDITION_BINS:
            edges.append(edge)
    return np.array(edges)


def tail_limit(scores: np.ndarray, rate: float) -> float:
    """Return the value that good blocks exceed at a rate, by a Pareto tail fitted to the largest scores."""
    return _tail(scores, rate)[0]


def tail_interval(scores: np.ndarray, rate: float) -> tuple[float, float]:
    """Return the interval of that value at 95 %, by the error of the slope of the tail (Hill's estimator)."""
    value, decades, count = _tail(scores, rate)
    error = float(np.exp(1.96 * decades / np.sqrt(count)))
    return value / error, value * error


def _tail(scores: np.ndarray, rate: float) -> tuple[float, float, int]:
    """Return the limit, the logarithm of its ratio to the begin of the tail, and the number of scores in the tail."""
    if len(scores) < GOLDEN_BLOCKS:
        raise DataError(
            f"there are {len(scores)} good blocks within runs; at least {GOLDEN_BLOCKS} are needed for their tail"
        )
    ordered = np.sort(scores)[::-1]
    count = max(10, min(int(FITTED_SHARE * len(ordered)), FITTED_MOST))
    base = ordered[count - 1]
    slope = float(np.mean(np.log(ordered[: count - 1] / base)))
    beyond = slope * float(np.log(max(1.0, count / (len(ordered) * rate))))
    return float(base * np.exp(beyond)), beyond, count


def least_burst(most: np.ndarray, rate: float) -> int:
    """Return the smallest number that steps reach at most at a rate; beyond those seen, each further one is as much rarer as the last ones were."""
    if not len(most):
        return 1
    counts = np.bincount(most)
    above = np.cumsum(counts[::-1])[::-1] / len(most)  # share of steps with at least k
    last = int(np.flatnonzero(above >= min(1.0, 30 / len(most)))[-1])
    if above[last] <= rate:
        return int(np.flatnonzero(above <= rate)[0])
    rarer = max(above[last + 1] if last + 1 < len(above) else 0.0, 3 / len(most)) / above[last]
    return last + int(np.ceil(np.log(rate / above[last]) / np.log(min(STEEPEST_TAIL, rarer))))


def fit_template(
    streams: Sequence[Iterable[ObservedBlock]], watch: Watch, detector: StreamDetector
) -> tuple[dict[int, ModeTemplate], dict[int, ModeLimits]]:
    """Fit templates and limits of all modes of some streams of good blocks."""
    kept = [list(one) for one in streams]
    parts = [good_blocks(one) for one in kept]
    templates: dict[int, ModeTemplate] = {}
    limits: dict[int, ModeLimits] = {}
    for mode in sorted({mode for part in parts for mode in part}):
        own = [part[mode] for part in parts if mode in part]
        templates[mode] = fit_mode(own, steps_have(watch), detector)
        limits[mode] = fit_limits(templates[mode], own, watch, detector)
    if not templates:
        blocks = [one for stream in kept for one in stream]
        why = f": {unusable(blocks[0]) or 'there is no beam'}" if blocks else ""
        raise DataError(f"none of the {len(blocks)} blocks of the streams can be used{why}")
    return templates, limits


def train_monitor(folders: Sequence[Path], watch: Watch, target: Path, detector: str = "template") -> Packed:
    """Fit a monitor to streams of good blocks, and pack it."""
    streams = [[observed(block, watch) for block in stream_blocks(folder, watch)] for folder in folders]
    templates, limits = fit_template(streams, watch, DETECTORS[detector])
    model = MonitorModel(
        watch=watch, detector=detector, modes=limits, streams=[folder.name for folder in folders]
    )
    blocks = [one for blocks in streams for one in blocks if one.mode in templates and not unusable(one)]
    chosen = blocks[:: max(1, len(blocks) // GOLDEN_BLOCKS)][:GOLDEN_BLOCKS]
    inputs: dict[str, np.ndarray] = {
        "features": np.stack([one.features for one in chosen]).astype(np.float32),
        "condition": np.array([[one.condition] for one in chosen], np.float32),
        "mode": np.array([one.mode for one in chosen], np.int64),
        "reference": np.zeros((len(chosen), len(chosen[0].features)), np.float32),
        "weight": np.ones((len(chosen), 1), np.float32),
        "compared": np.arange(len(chosen), dtype=np.int64) % len(HOWS),
    }
    return pack_monitor(
        template_graph(templates),
        target,
        model,
        inputs,
        f"Detector `{detector}` for the data quality of the stream {watch.name}",
    )
