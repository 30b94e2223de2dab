"""A host as it really runs: sometimes slow, sometimes not at all.

What a host got done, against time, is measured under load and replayed: work that begins at some moment ends when the
host has done so much more. A stall then hits whoever is there, and slow times last as long as they did.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol


class Clock(Protocol):
    """When work ends."""

    def end(self, begin: float, work: float) -> float:
        """Return when work of so many seconds ends that begins then."""
        ...


class SteadyClock:
    """A host that always runs at the same speed."""

    def end(self, begin: float, work: float) -> float:
        """Return when work ends."""
        return begin + work


class MeasuredClock:
    """A host whose work done by each moment was measured; it is repeated for ever, and is 1 second a second on average."""

    def __init__(self, times_s: Sequence[float], work: Sequence[float], *, offset: float = 0.0) -> None:
        """Take moments from 0 and what was done by then; `offset` is the share of it that is skipped at first."""
        self._span = float(times_s[-1])
        scale = self._span / float(work[-1])
        self._times = [float(time) for time in times_s]
        self._work = [float(done) * scale for done in work]
        self._skipped = offset * self._span

    def end(self, begin: float, work: float) -> float:
        """Return when work ends."""
        span = self._span
        rounds, place = divmod(begin + self._skipped, span)
        more, wanted = divmod(_between(self._times, self._work, place) + work, span)
        end = (rounds + more) * span + _between(self._work, self._times, wanted) - self._skipped
        return max(begin, end)  # rounding must not turn time back


def _between(known: list[float], values: list[float], at: float) -> float:
    right = min(bisect_right(known, at), len(known) - 1)
    low, high = known[right - 1], known[right]
    if high <= low:
        return values[right]
    return values[right - 1] + (values[right] - values[right - 1]) * (at - low) / (high - low)
