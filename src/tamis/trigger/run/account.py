"""Where the time of a run went: every nanosecond of its processes is in exactly one line."""

from __future__ import annotations

from tamis._base import Document
from tamis.trigger.decide import EVENT, SETUP
from tamis.trigger.run.documents import RunSummary
from tamis.trigger.run.times import (
    KEPT,
    MERGING,
    PLANNING,
    READING,
    STARTING,
    UNIT,
    WAITING,
    WRITING,
    TimeSum,
)

FRAMEWORK, OTHER = "framework", "other"


class TimeLine(Document):
    """One line: its time in all, its share of the run, and how it is spread over the events that came so far."""

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
    """Return the lines; their shares add up to one, but for reading that went on beside the computing."""
    times, whole = summary.times, summary.wall_ns * summary.workers
    work = {label: times[label] for label in summary.kinds if label in times}
    booked = [WAITING, SETUP, KEPT, WRITING]
    lines = [_line(summary, summary.kinds[label], label, time) for label, time in work.items()]
    lines += [_line(summary, "input and output", label, times[label]) for label in booked if label in times]
    unit = times.get(UNIT, TimeSum())
    inside = sum(t.total_ns for t in work.values()) + sum(
        times[label].total_ns for label in (SETUP, KEPT, WRITING) if label in times
    )
    lines.append(_bare(summary, FRAMEWORK, "between the steps", unit.total_ns - inside))
    for label in (STARTING, PLANNING, MERGING):
        if label in times:
            lines.append(_bare(summary, "run", label, times[label].total_ns))
    lines.append(_bare(summary, "run", OTHER, whole - sum(line.total_ns for line in lines)))
    return lines


def beside(summary: RunSummary) -> list[TimeLine]:
    """Return the lines that are no part of the sum: reading ahead in a thread, and whole events."""
    found = [(READING, "beside the computing"), (EVENT, "whole")]
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
        share=time.total_ns / max(1, summary.wall_ns * summary.workers),
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
        share=total_ns / max(1, summary.wall_ns * summary.workers),
        events=events,
        mean_ns=total_ns / events if events else nan,
        p50_ns=nan,
        p95_ns=nan,
        p99_ns=nan,
        p999_ns=nan,
        most_ns=nan,
    )
