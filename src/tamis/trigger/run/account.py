"""The time account of a run: every nanosecond of its processes is in exactly one line."""

from __future__ import annotations

from tamis._base import Document
from tamis.trigger.decide import EVENT, SETUP
from tamis.trigger.run.documents import RunSummary
from tamis.trigger.run.times import (
    TIME_KEPT,
    TIME_MERGING,
    TIME_PLANNING,
    TIME_READING,
    TIME_STARTING,
    TIME_UNIT,
    TIME_WAITING,
    TIME_WRITING,
    TimeSum,
)

FRAMEWORK, OTHER = "framework", "other"


class TimeLine(Document):
    """A line of the account: total time, share of the run, and quantiles over the events that reached the step."""

    part: str
    label: str
    total_ns: int
    share: float
    events: int
    mean_ns: float
    p50_ns: float
    p95_ns: float
    p99_ns: float
    p999_ns: float
    most_ns: float


def account(summary: RunSummary) -> list[TimeLine]:
    """Return the lines of the account, whose shares add up to one."""
    times = summary.times
    work = {label: times[label] for label in summary.kinds if label in times}
    recorded = [TIME_WAITING, SETUP, TIME_KEPT, TIME_WRITING]
    lines = [_line(summary, summary.kinds[label], label, time) for label, time in work.items()]
    lines += [_line(summary, "input and output", label, times[label]) for label in recorded if label in times]
    unit = times.get(TIME_UNIT, TimeSum())
    inside = sum(t.total_ns for t in work.values()) + sum(
        times[label].total_ns for label in (SETUP, TIME_KEPT, TIME_WRITING) if label in times
    )
    lines.append(_bare(summary, FRAMEWORK, "between the steps", unit.total_ns - inside))
    for label in (TIME_STARTING, TIME_PLANNING, TIME_MERGING):
        if label in times:
            lines.append(_bare(summary, "run", label, times[label].total_ns))
    lines.append(_bare(summary, "run", OTHER, _whole_ns(summary) - sum(line.total_ns for line in lines)))
    return lines


def _whole_ns(summary: RunSummary) -> int:
    """Return the time of all processes; of a resumed run, whose wall time is only the last part, at least what was recorded."""
    parts = (TIME_WAITING, TIME_UNIT, TIME_STARTING, TIME_PLANNING, TIME_MERGING)
    recorded = sum(summary.times[label].total_ns for label in parts if label in summary.times)
    return max(1, summary.wall_ns * summary.workers, recorded)


def concurrent_times(summary: RunSummary) -> list[TimeLine]:
    """Return lines outside the account, as they overlap with it: reading ahead in a thread, and whole events."""
    found = [(TIME_READING, "concurrent with computing"), (EVENT, "whole")]
    return [
        _line(summary, part, label, summary.times[label]) for label, part in found if label in summary.times
    ]


def _line(summary: RunSummary, part: str, label: str, time: TimeSum) -> TimeLine:
    quantiles = {
        name: time.quantile_ns(fraction)
        for name, fraction in (("p50_ns", 0.5), ("p95_ns", 0.95), ("p99_ns", 0.99), ("p999_ns", 0.999))
    }
    return TimeLine(
        part=part,
        label=label,
        total_ns=time.total_ns,
        share=time.total_ns / _whole_ns(summary),
        events=time.events,
        mean_ns=time.mean_ns,
        most_ns=time.most_ns,
        **quantiles,
    )


def _bare(summary: RunSummary, part: str, label: str, total_ns: int) -> TimeLine:
    nan = float("nan")
    events = summary.counts.entered
    return TimeLine(
        part=part,
        label=label,
        total_ns=total_ns,
        share=total_ns / _whole_ns(summary),
        events=events,
        mean_ns=total_ns / events if events else nan,
        p50_ns=nan,
        p95_ns=nan,
        p99_ns=nan,
        p999_ns=nan,
        most_ns=nan,
    )
