"""The time account of a run: every nanosecond of its processes is in exactly one line."""

from __future__ import annotations

from tamis._base import Document
from tamis.trigger.decide import EVENT, SETUP
from tamis.trigger.run.documents import RunSummary
from tamis.trigger.run.times import (
    TIME_COLUMNS,
    TIME_DECIDING,
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

FRAMEWORK, ONE_OFF, OTHER = "framework", "one-off", "other"


class TimeLine(Document):
    """A line of the account: total time, share of the run, and quantiles over the events that reached the step.

    One-off work (opening, compiling, joining) has no events and no time per event: that would depend on the length of the run.
    """

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
    times, whole = summary.times, _whole_ns(summary)
    total = {label: time.total_ns for label, time in times.items()}
    work = [label for label in summary.kinds if label in times]
    io = [label for label in (TIME_WAITING, TIME_COLUMNS, SETUP, TIME_KEPT, TIME_WRITING) if label in times]
    around = sum(total.get(label, 0) for label in (TIME_COLUMNS, TIME_KEPT, TIME_WRITING))
    unit = total.get(TIME_UNIT, 0)
    deciding = total.get(TIME_DECIDING, unit - around)  # older records lack it
    framework = deciding - sum(total[label] for label in work) - total.get(SETUP, 0)
    lines = [_line(summary, summary.kinds[label], label, times[label]) for label in work]
    lines += [_line(summary, "input and output", label, times[label]) for label in io]
    lines.append(_bare(summary, FRAMEWORK, "between the steps", framework, summary.counts.entered))
    for label in (TIME_STARTING, TIME_PLANNING, TIME_MERGING):
        if label in times:
            lines.append(_bare(summary, ONE_OFF, label, total[label]))
    lines.append(_bare(summary, ONE_OFF, "beginning and ending units", unit - around - deciding))
    lines.append(_bare(summary, ONE_OFF, OTHER, whole - sum(line.total_ns for line in lines)))
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


def _bare(summary: RunSummary, part: str, label: str, total_ns: int, events: int = 0) -> TimeLine:
    nan = float("nan")
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
