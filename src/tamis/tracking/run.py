"""Reconstruct the events of a file, and write their tracks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import awkward as ak
import numpy as np

from tamis._base import DataError, host_facts, now_ns, utc_timestamp
from tamis.bundle import wilson
from tamis.events import Events, open_writer
from tamis.records import BrokenEvent, Fraction, Residual, StageTime, TrackingPhysics, TrackingRecord
from tamis.tracking.chain import Reconstruction, Tracks
from tamis.tracking.columns import TRACK_TYPES, track_values
from tamis.tracking.matching import FOUND_ETA_MAX, FOUND_PT_MIN, HITS_MIN, Matches
from tamis.tracking.opening import warm_up
from tamis.tracking.reading import CellEvent
from tamis.tracking.steps import STAGES
from tamis.tracking.workers import tracked_events

PARAMETERS = (("d0", "mm"), ("z0", "mm"), ("phi", "rad"), ("theta", "rad"), ("q/p", "1/GeV"))
CHUNK_EVENTS = 20


@dataclass
class _Tally:
    """Times, counts and matches of the events so far."""

    milliseconds: list[dict[str, float]] = field(default_factory=list)
    cells: int = 0
    tracks: int = 0
    broken: list[BrokenEvent] = field(default_factory=list)
    matches: list[Matches] = field(default_factory=list)
    begin_ns: int = 0


def track_file(
    source: Path,
    reconstruction: Reconstruction,
    out: Path | None = None,
    advance: Callable[[int], None] = lambda _: None,
    workers: int = 1,
) -> TrackingRecord:
    """Reconstruct the events of a file; an event that is broken is written without tracks and told with its reason."""
    tally = _Tally()
    if workers == 1:
        warm_up(reconstruction)
    if out is None:
        for _ in _reconstructed(source, reconstruction, tally, advance, workers):
            pass
    else:
        with open_writer(out) as writer:
            pending: list[tuple[CellEvent, Tracks | None]] = []
            for one in _reconstructed(source, reconstruction, tally, advance, workers):
                pending.append(one)
                if len(pending) == CHUNK_EVENTS:
                    writer.write(track_columns(pending))
                    pending.clear()
            if pending:
                writer.write(track_columns(pending))
    if not tally.milliseconds and not tally.broken:
        raise DataError(f"{source} has no events")
    return _record(source, reconstruction, tally, workers, (now_ns() - tally.begin_ns) / 1e9)


def _reconstructed(
    source: Path, reconstruction: Reconstruction, tally: _Tally, advance: Callable[[int], None], workers: int
) -> Iterator[tuple[CellEvent, Tracks | None]]:
    for one in tracked_events(source, reconstruction, workers):
        advance(1)
        tally.begin_ns = min(tally.begin_ns or one.begin_ns, one.begin_ns)
        if one.tracks is None:
            tally.broken.append(BrokenEvent(event=one.event.number, reason=one.event.reason))
        else:
            tally.milliseconds.append(one.milliseconds)
            tally.cells += one.cells
            tally.tracks += len(one.tracks)
            if one.matches is not None:
                tally.matches.append(one.matches)
        yield one.event, one.tracks


def track_columns(events: list[tuple[CellEvent, Tracks | None]]) -> Events:
    """Return tracks as columns; an event without them has `tamis_tracking_error`."""
    numbers = {
        "run": np.array([event.run for event, _ in events], np.uint32),
        "luminosityBlock": np.array([event.lumi for event, _ in events], np.uint32),
        "event": np.array([event.number for event, _ in events], np.uint64),
        "tamis_tracking_error": np.array([tracks is None for _, tracks in events]),
    }
    counts = [0 if tracks is None else len(tracks) for _, tracks in events]
    found = [tracks for _, tracks in events if tracks is not None]

    values = [track_values(one) for one in found]
    columns = {
        f"Track_{name}": ak.unflatten(
            np.concatenate([*(one[name] for one in values), np.zeros(0, kind)]), counts
        )
        for name, kind in TRACK_TYPES.items()
    }
    return Events.of(numbers | columns)


def _record(
    source: Path, reconstruction: Reconstruction, tally: _Tally, workers: int, seconds: float
) -> TrackingRecord:
    events = len(tally.milliseconds)
    stages = [_time(stage, [one.get(stage, 0.0) for one in tally.milliseconds]) for stage in STAGES]
    physics = _physics(Matches.joined(tally.matches)) if tally.matches else None
    return TrackingRecord(
        created=utc_timestamp(), host=host_facts(), source=str(source), detector=reconstruction.detector.name, events=events,
        broken=tally.broken, tracks=tally.tracks, cells_per_event=tally.cells / max(events, 1), stages=stages,
        together=_time("together", [sum(one.values()) for one in tally.milliseconds]), physics=physics,
        workers=workers, seconds=seconds, events_per_second=(events + len(tally.broken)) / seconds,
    )  # fmt: skip


def _time(stage: str, milliseconds: list[float]) -> StageTime:
    values = np.array(milliseconds or [0.0])
    return StageTime(
        stage=stage,
        mean_ms=float(values.mean()),
        p50_ms=float(np.median(values)),
        p99_ms=float(np.percentile(values, 99)),
    )


def _physics(matches: Matches) -> TrackingPhysics:
    residuals = []
    for k, (name, unit) in enumerate(PARAMETERS):
        value, pull = matches.residual[:, k], matches.pull[:, k]
        residuals.append(
            Residual(
                parameter=name,
                unit=unit,
                width=_width(value),
                median=_median(value),
                pull_width=_width(pull),
                pull_median=_median(pull),
            )
        )
    return TrackingPhysics(
        particles=f"charged, at least {HITS_MIN} clusters, pT above {FOUND_PT_MIN:g} GeV, |eta| below {FOUND_ETA_MAX:g}",
        efficiency=_fraction(matches.found > 0), fakes=_fraction(matches.fake), duplicates=_fraction(matches.duplicate), residuals=residuals,
    )  # fmt: skip


def _fraction(passed: np.ndarray) -> Fraction:
    count, total = int(passed.sum()), len(passed)
    low, high = wilson(count, total)
    return Fraction(passed=count, total=total, value=count / total if total else 0.0, low=low, high=high)


def _width(values: np.ndarray) -> float:
    if not len(values):
        return 0.0
    low, high = np.nanpercentile(values, [15.87, 84.13])
    return float(high - low) / 2


def _median(values: np.ndarray) -> float:
    return float(np.nanmedian(values)) if len(values) else 0.0
