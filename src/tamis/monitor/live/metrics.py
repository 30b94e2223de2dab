"""Metrics of a monitor in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from tamis._base import metric_family, metric_labels
from tamis.monitor.follow import State
from tamis.monitor.live.feed import JournalFeed, now


def monitor_exposition(feed: JournalFeed, dropped: Callable[[], int]) -> str:
    """Return all metrics as text; `dropped` counts the bad blocks that were not reported to a hook."""
    lines = metric_family("tamis_monitor_blocks_total", "counter", "Blocks in the journal, by state")
    for state in get_args(State):
        lines.append(f"tamis_monitor_blocks_total{{{metric_labels(state=state)}}} {feed.counts[state]}")
    judged = sum(feed.counts[state] for state in get_args(State) if state != "no data")
    samples: list[tuple[str, str, str, float]] = [
        ("tamis_monitor_alarms_total", "counter", "Bad blocks", feed.counts["bad"]),
        ("tamis_monitor_second_alarms_total", "counter", "Alarms of seconds, of blocks with a verdict", feed.alarms()),
        ("tamis_monitor_raised_alarms", "gauge", "Alarms of seconds, of blocks without a verdict", len(feed.raised)),
        ("tamis_monitor_late_parts_total", "counter", "Parts of blocks that came after the verdict, or twice", feed.late()),
        ("tamis_monitor_hook_reports_dropped_total", "counter", "Bad blocks that were not reported because a hook was too slow", dropped()),
        ("tamis_monitor_judging_seconds_total", "counter", "Time spent on the verdicts", feed.judging),
        ("tamis_monitor_judged_blocks_total", "counter", "Blocks that the time was spent on", judged),
    ]  # fmt: skip
    newest, written = feed.newest, feed.written
    if newest is not None:
        samples += [
            ("tamis_monitor_last_run", "gauge", "Run of the newest block", newest.run),
            ("tamis_monitor_last_block", "gauge", "Number of the newest block in its run", newest.block),
        ]
        if newest.score is not None:
            samples.append(("tamis_monitor_last_score", "gauge", "Score of the newest block over its limit", newest.score))  # fmt: skip
    if written is not None:
        samples += [
            ("tamis_monitor_last_block_time_seconds", "gauge", "When the last block was written, since 1970", written),
            ("tamis_monitor_seconds_since_last_block", "gauge", "Time since the last block was written", max(0.0, now() - written)),
            ("tamis_monitor_stale", "gauge", "1 if no block has come for longer than expected", float(now() - written > feed.stale_s)),
        ]  # fmt: skip
    for name, kind, description, value in samples:
        lines += [*metric_family(name, kind, description), f"{name} {value:.15g}"]
    return "\n".join(lines) + "\n"
