"""Monitors against each other on the same stream: recall at the same rate of false alarms, and VUS-PR, with paired intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tamis._base import DataError, UsageError, host_facts, utc_timestamp
from tamis.bundle import Bundle
from tamis.monitor.evaluation import faults_of_blocks, read_truth
from tamis.monitor.features import observed
from tamis.monitor.judges import open_judge
from tamis.monitor.model import monitor_of
from tamis.monitor.stream import stream_blocks
from tamis.monitor.sums import BlockKey
from tamis.monitor.volume import vus_pr
from tamis.records import ComparedMonitor, MonitorComparison, PairedDifference

FALSE_RATE = 1e-3  # per good block, at which the recall is compared
MARGIN_BLOCKS = 10
RESAMPLED, RESAMPLED_BLOCKS = 100, 120  # bootstrap: how often, of pieces of how many blocks
INTERVAL = (0.025, 0.975)


def compare_monitors(
    bundles: Sequence[Bundle], folder: Path, good: Path | None = None, *, engine: str = "auto", seed: int = 0
) -> MonitorComparison:
    """Judge a stream by several monitors; the differences are those of the first one to each of the others.

    The limit of each one is where it has the rate of false alarms on `good`, a stream without faults, or else on the good blocks of the stream.
    """
    names = [bundle.name for bundle in bundles]
    if len(set(names)) < len(names):
        raise UsageError(
            f"two of the monitors have the same name ({', '.join(names)}): pack one under another name"
        )
    truth = read_truth(folder)
    faulty = np.array([bool(own) for own in faults_of_blocks(truth)])
    number = {(one.run, one.block): k for k, one in enumerate(truth.blocks)}
    scores = np.full((len(bundles) + 1, len(faulty)), np.nan)
    for row, bundle in enumerate(bundles):
        for key, severity in severities(bundle, folder, engine):
            scores[row, number[key]] = severity
    scores[-1] = np.random.default_rng(seed).random(len(faulty))
    judged = np.isfinite(scores).all(axis=0)
    faulty, scores = faulty[judged], scores[:, judged]
    limits: list[float | None] = [None] * len(scores)
    if good is not None:
        of_good = [np.array([found for _, found in severities(bundle, good, engine)]) for bundle in bundles]
        limits = [*map(_limit, of_good), 1 - FALSE_RATE]
    if faulty.all() or not faulty.any():
        raise DataError(
            f"{folder} has {'only' if faulty.any() else 'no'} blocks with faults: monitors are compared on both"
        )
    whole = [_figures(faulty, *one) for one in zip(scores, limits, strict=True)]
    resampled = _resampled(faulty, scores, limits, np.random.default_rng(seed))
    return MonitorComparison(
        created=utc_timestamp(), host=host_facts(), stream=folder.name, mode=truth.mode, seed=truth.seed, blocks=len(faulty), faulty=int(faulty.sum()),
        prevalence=float(faulty.mean()), false_rate=FALSE_RATE, margin_blocks=MARGIN_BLOCKS,
        monitors=[
            ComparedMonitor(name=name, recall=recall, vus_pr=volume)
            for name, (recall, volume) in zip([*names, "random"], whole, strict=True)
        ],
        differences=[
            PairedDifference(
                monitor=names[0], against=name, recall=whole[0][0] - whole[row][0], recall_interval=_interval(resampled[:, 0, 0] - resampled[:, row, 0]),
                vus_pr=whole[0][1] - whole[row][1], vus_pr_interval=_interval(resampled[:, 0, 1] - resampled[:, row, 1]),
            )
            for row, name in enumerate([*names, "random"]) if row
        ],
    )  # fmt: skip


def severities(bundle: Bundle, folder: Path, engine: str = "auto") -> Iterator[tuple[BlockKey, float]]:
    """Yield how bad each block of a stream is, if it can be judged."""
    watch, judge = monitor_of(bundle).watch, open_judge(bundle, engine)
    for block in stream_blocks(folder, watch):
        verdict = judge.judge(observed(block, watch))
        if verdict.state in ("good", "bad"):
            yield block.key, verdict.severity


def _limit(of_good: np.ndarray) -> float:
    """Return the limit that good blocks exceed at the rate of false alarms."""
    return float(np.quantile(of_good, 1 - FALSE_RATE, method="higher"))


def _figures(faulty: np.ndarray, scores: np.ndarray, limit: float | None) -> tuple[float, float]:
    """Return the recall at the rate of false alarms, and VUS-PR."""
    limit = _limit(scores[~faulty]) if limit is None else limit
    return float(np.mean(scores[faulty] > limit)), vus_pr(faulty, scores, MARGIN_BLOCKS)


def _resampled(
    faulty: np.ndarray, scores: np.ndarray, limits: Sequence[float | None], random: np.random.Generator
) -> np.ndarray:
    """Return the figures of all monitors on pieces of the stream that are drawn with replacement, (samples, monitors, 2)."""
    pieces = np.array_split(np.arange(len(faulty)), max(1, len(faulty) // RESAMPLED_BLOCKS))
    samples: list[list[tuple[float, float]]] = []
    while len(samples) < RESAMPLED:
        rows = np.concatenate([pieces[k] for k in random.integers(len(pieces), size=len(pieces))])
        if faulty[rows].any() and not faulty[rows].all():
            parts = zip(scores[:, rows], limits, strict=True)
            samples.append([_figures(faulty[rows], *part) for part in parts])
    return np.array(samples)


def _interval(differences: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(differences, INTERVAL)
    return float(low), float(high)
