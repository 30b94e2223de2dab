"""Two runs over the same events: gained and lost events on each path, changed outcomes, and time per event."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tamis._base import DataError, UsageError
from tamis.records import PathChange, RunComparison
from tamis.trigger import account, read_decisions, read_summary

OUTCOME_NAMES = {-1: "unreadable", 0: "rejected", 1: "accepted", 2: "debug"}
LISTED_EVENTS = 20  # per path, gained and lost each


def compare_runs(before: Path, after: Path) -> RunComparison:
    """Compare two finished runs; events are matched by run, luminosity block and event number, repeated ones in order."""
    old, new = _decisions(before), _decisions(after)
    _, rows_old, rows_new = np.intersect1d(_keys(old), _keys(new), assume_unique=True, return_indices=True)
    order = np.argsort(rows_old)
    rows_old, rows_new = rows_old[order], rows_new[order]
    if not len(rows_old):
        raise DataError(f"{before} and {after} have no event in common")
    paths_old, paths_new = _paths(old), _paths(new)
    shared = [path for path in paths_old if path in paths_new]
    pairs, counts = np.unique(
        np.stack([old["outcome"][rows_old], new["outcome"][rows_new]], axis=1), axis=0, return_counts=True
    )
    return RunComparison(
        events=len(rows_old),
        only_before=len(old["event"]) - len(rows_old),
        only_after=len(new["event"]) - len(rows_new),
        paths=tuple(_change(path, old, new, rows_old, rows_new) for path in shared),
        only_paths={
            "before": tuple(path for path in paths_old if path not in paths_new),
            "after": tuple(path for path in paths_new if path not in paths_old),
        },
        outcomes={
            f"{OUTCOME_NAMES[int(a)]} -> {OUTCOME_NAMES[int(b)]}": int(count)
            for (a, b), count in zip(pairs, counts, strict=True)
            if a != b
        },
        us_per_event=_times(before, after),
    )


def _decisions(folder: Path) -> dict[str, np.ndarray]:
    if not folder.is_dir():
        raise UsageError(f"{folder} is not the output folder of a run; pass a folder that `tamis run` wrote")
    return read_decisions(folder)


def _paths(decisions: dict[str, np.ndarray]) -> list[str]:
    return [name.removeprefix("HLT_") for name in decisions if name.startswith("HLT_")]


def _keys(decisions: dict[str, np.ndarray]) -> np.ndarray:
    """Return a sortable key of every event; the last field numbers events with the same identity."""
    fields = [decisions[name].astype(np.uint64) for name in ("run", "luminosityBlock", "event")]
    order = np.lexsort(fields[::-1])
    ranked = np.stack(fields, axis=1)[order]
    first = np.ones(len(order), bool)
    first[1:] = (ranked[1:] != ranked[:-1]).any(axis=1)
    starts = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    repeat = np.empty(len(order), np.uint64)
    repeat[order] = (np.arange(len(order)) - starts).astype(np.uint64)
    keys: Any = np.empty(len(order), [(name, np.uint64) for name in ("run", "block", "event", "repeat")])
    for name, values in zip(("run", "block", "event", "repeat"), [*fields, repeat], strict=True):
        keys[name] = values
    return np.asarray(keys)


def _change(
    path: str,
    old: dict[str, np.ndarray],
    new: dict[str, np.ndarray],
    rows_old: np.ndarray,
    rows_new: np.ndarray,
) -> PathChange:
    before = old[f"HLT_{path}"][rows_old] & (old["outcome"][rows_old] == 1)
    after = new[f"HLT_{path}"][rows_new] & (new["outcome"][rows_new] == 1)
    gained, lost = after & ~before, before & ~after
    return PathChange(
        path=path,
        before=int(before.sum()),
        after=int(after.sum()),
        both=int((before & after).sum()),
        gained=int(gained.sum()),
        lost=int(lost.sum()),
        gained_events=_named(old, rows_old[gained]),
        lost_events=_named(old, rows_old[lost]),
    )


def _named(decisions: dict[str, np.ndarray], rows: np.ndarray) -> tuple[str, ...]:
    return tuple(
        ":".join(str(decisions[name][row]) for name in ("run", "luminosityBlock", "event"))
        for row in rows[:LISTED_EVENTS]
    )


def _times(before: Path, after: Path) -> dict[str, tuple[float | None, float | None]]:
    times: list[dict[str, float]] = []
    for folder in (before, after):
        summary = read_summary(folder)
        events = max(1, summary.counts.entered)
        lines = [line for line in account(summary) if line.events]  # without one-off work
        times.append({line.label: line.total_ns / events / 1e3 for line in lines})
    return {
        label: (times[0].get(label), times[1].get(label)) for label in dict.fromkeys([*times[0], *times[1]])
    }
