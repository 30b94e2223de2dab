"""A host as it really runs: sometimes slow, sometimes interrupted.

What a saturated server got done, against time, is measured and replayed as the server works: its clock stands still while it
has nothing to do. A process is interrupted while it computes, the more often the more it computes; an idle one is not.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol


class Clock(Protocol):
    """How long work takes."""

    def takes(self, work: float) -> float:
        """Return how long the next so many seconds of work take."""
        ...

    def fresh(self) -> Clock:
        """Return the same clock, before any work was done."""
        ...


class SteadyClock:
    """A host that always runs at the same speed."""

    def takes(self, work: float) -> float:
        """Return the work itself."""
        return work

    def fresh(self) -> SteadyClock:
        """Return itself: nothing changes it."""
        return self


class MeasuredClock:
    """A host whose work done by each moment was measured; it is repeated for ever, and is 1 second a second on average."""

    def __init__(self, times_s: Sequence[float], work: Sequence[float], *, offset: float = 0.0) -> None:
        """Take moments from 0 and what was done by then; `offset` is the share of it that is skipped at first."""
        self._span = float(times_s[-1])
        scale = self._span / float(work[-1])
        self._times = [float(time) for time in times_s]
        self._work = [float(done) * scale for done in work]
        self._done = self._first = offset * self._span

    def takes(self, work: float) -> float:
        """Return how long the next so many seconds of work take, as it was when they were measured."""
        begin = self._done
        self._done += work
        return max(0.0, self._time(self._done) - self._time(begin))  # rounding must not turn time back

    def fresh(self) -> MeasuredClock:
        """Return the same clock at its beginning."""
        return MeasuredClock(self._times, self._work, offset=self._first / self._span)

    def _time(self, done: float) -> float:
        rounds, place = divmod(done, self._span)
        known, values = self._work, self._times
        right = min(bisect_right(known, place), len(known) - 1)
        low, high = known[right - 1], known[right]
        share = (place - low) / (high - low) if high > low else 1.0
        return rounds * self._span + values[right - 1] + (values[right] - values[right - 1]) * share
