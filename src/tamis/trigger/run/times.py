"""Sums of times: exact totals, and quantiles from bins of 1 % width, so that their size does not grow with the events."""

from __future__ import annotations

import numpy as np

from tamis._base import Document
from tamis.trigger.decide import Laps

BIN_RATIO = 1.01  # of the edges of a bin

# labels of times that a run records besides those of stages and conditions
TIME_READING, TIME_WAITING, TIME_KEPT = "reading", "waiting for reading", "reading kept columns"
TIME_COLUMNS, TIME_WRITING = "columns to arrays", "writing"
TIME_UNIT, TIME_DECIDING = "unit", "deciding"
TIME_STARTING, TIME_PLANNING, TIME_MERGING = "starting", "planning", "joining streams"


class TimeSum(Document):
    """The times of one label: total over `events` events, and sparse histogram counts of the time per event."""

    events: int = 0
    total_ns: int = 0
    most_ns: float = 0.0
    bins: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()

    def quantile_ns(self, fraction: float) -> float:
        """Return a quantile of the time per event, accurate to 1 %."""
        if not self.counts:
            return float("nan")
        total = np.cumsum(self.counts)
        index = int(np.searchsorted(total, fraction * total[-1], side="left"))
        return float(min(BIN_RATIO ** (self.bins[min(index, len(self.bins) - 1)] + 0.5), self.most_ns))

    @property
    def mean_ns(self) -> float:
        """Return the mean time per event."""
        return self.total_ns / self.events if self.events else float("nan")


def summed(laps: Laps) -> dict[str, TimeSum]:
    """Return the sums of recorded times by label."""
    return {label: _sum(*laps.of(label), laps.total_ns[label]) for label in laps.values}


def _sum(values: np.ndarray, weights: np.ndarray, total_ns: int) -> TimeSum:
    if not len(values):
        return TimeSum(total_ns=total_ns)
    index = np.floor(np.log(np.maximum(values, 1.0)) / np.log(BIN_RATIO)).astype(np.int64)
    bins, inverse = np.unique(index, return_inverse=True)
    counts = np.bincount(inverse, weights).astype(np.int64)
    return TimeSum(
        events=int(weights.sum()),
        total_ns=total_ns,
        most_ns=float(values.max()),
        bins=tuple(bins.tolist()),
        counts=tuple(counts.tolist()),
    )


def merged(sums: list[TimeSum]) -> TimeSum:
    """Return the sum of several sums."""
    bins = np.concatenate([np.array(one.bins, np.int64) for one in sums])
    counts = np.concatenate([np.array(one.counts, np.int64) for one in sums])
    merged_bins, inverse = np.unique(bins, return_inverse=True)
    return TimeSum(
        events=sum(one.events for one in sums),
        total_ns=sum(one.total_ns for one in sums),
        most_ns=max(one.most_ns for one in sums),
        bins=tuple(merged_bins.tolist()),
        counts=tuple(np.bincount(inverse, counts, minlength=len(merged_bins)).astype(np.int64).tolist()),
    )
