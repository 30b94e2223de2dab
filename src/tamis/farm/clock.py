"""The speed of a host over time: steady, or as measured, with slow phases and interruptions.

The work that a saturated server completed against time is measured, and replayed while a simulated server works; the clock
stands still while the server is idle. A process is interrupted while it computes, in proportion to its work; an idle process
is not.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol


class Clock(Protocol):
    """Converts work, in seconds at mean speed, to elapsed time."""

    def takes(self, work: float) -> float:
        """Return the time that the next `work` seconds of work take, and advance by that work."""
        ...

    def fresh(self) -> Clock:
        """Return a copy at its starting point."""
        ...


class SteadyClock:
    """A host of constant speed."""

    def takes(self, work: float) -> float:
        """Return the work itself."""
        return work

    def fresh(self) -> SteadyClock:
        """Return itself, since it has no state."""
        return self


class MeasuredClock:
    """A host whose completed work against time was measured; repeated periodically, with mean speed 1."""

    def __init__(self, times_s: Sequence[float], work: Sequence[float], *, offset: float = 0.0) -> None:
        """Take times from 0 and the work completed by then; start at `offset`, a fraction of the total work."""
        self._span = float(times_s[-1])
        scale = self._span / float(work[-1])
        self._times = [float(time) for time in times_s]
        self._work = [float(done) * scale for done in work]
        self._done = self._first = offset * self._span

    def takes(self, work: float) -> float:
        """Return the time that the next `work` seconds of work take at the current point of the measurement."""
        begin = self._done
        self._done += work
        return max(0.0, self._time(self._done) - self._time(begin))  # rounding must not give negative times

    def fresh(self) -> MeasuredClock:
        """Return a copy at its starting point."""
        return MeasuredClock(self._times, self._work, offset=self._first / self._span)

    def _time(self, done: float) -> float:
        """Return the time at which some work is completed."""
        rounds, place = divmod(done, self._span)
        known, values = self._work, self._times
        right = min(bisect_right(known, place), len(known) - 1)
        low, high = known[right - 1], known[right]
        share = (place - low) / (high - low) if high > low else 1.0
        return rounds * self._span + values[right - 1] + (values[right] - values[right - 1]) * share
