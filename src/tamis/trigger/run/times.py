"""Times summed up: exact totals, and quantiles from bins one per cent wide, so that years of events fit in a page."""

from __future__ import annotations

import numpy as np

from tamis._base import Document
from tamis.trigger.decide import Laps

STEP = 1.01

# what a run books beside its stages and conditions
READING, WAITING, KEPT = "reading", "waiting for reading", "reading what is kept"
WRITING, UNIT = "writing", "unit"
STARTING, PLANNING, MERGING = "starting", "planning", "joining streams"


class TimeSum(Document):
    """The times of one label: over `events` events, `total_ns` in all; sparse counts of times per event."""

    events: int = 0
    total_ns: int = 0
    most_ns: float = 0.0
    bins: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()

    def quantile_ns(self, fraction: float) -> float:
        """Return the time per event that a fraction of the events stays below, to one per cent."""
        if not self.counts:
            return float("nan")
        total = np.cumsum(self.counts)
        index = int(np.searchsorted(total, fraction * total[-1], side="left"))
        return float(min(STEP ** (self.bins[min(index, len(self.bins) - 1)] + 0.5), self.most_ns))

    @property
    def mean_ns(self) -> float:
        """Return the mean time per event that was worked on."""
        return self.total_ns / self.events if self.events else float("nan")


def summed(laps: Laps) -> dict[str, TimeSum]:
    """Return the sums of collected times."""
    return {label: _sum(*laps.of(label), laps.total_ns[label]) for label in laps.values}


def _sum(values: np.ndarray, weights: np.ndarray, total_ns: int) -> TimeSum:
    if not len(values):
        return TimeSum(total_ns=total_ns)
    place = np.floor(np.log(np.maximum(values, 1.0)) / np.log(STEP)).astype(np.int64)
    bins, inverse = np.unique(place, return_inverse=True)
    counts = np.bincount(inverse, weights).astype(np.int64)
    return TimeSum(
        events=int(weights.sum()),
        total_ns=total_ns,
        most_ns=float(values.max()),
        bins=tuple(bins.tolist()),
        counts=tuple(counts.tolist()),
    )


def merged(sums: list[TimeSum]) -> TimeSum:
    """Return the sum of sums."""
    bins = np.concatenate([np.array(one.bins, np.int64) for one in sums])
    counts = np.concatenate([np.array(one.counts, np.int64) for one in sums])
    places, inverse = np.unique(bins, return_inverse=True)
    return TimeSum(
        events=sum(one.events for one in sums),
        total_ns=sum(one.total_ns for one in sums),
        most_ns=max(one.most_ns for one in sums),
        bins=tuple(places.tolist()),
        counts=tuple(np.bincount(inverse, counts, minlength=len(places)).astype(np.int64).tolist()),
    )
