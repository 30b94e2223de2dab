"""Reconstruct the events of a file, and write their tracks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import awkward as ak
import numpy as np

from tamis._base import DataError, host_facts, now_ns, utc_timestamp
from tamis.events import Events, open_writer
from tamis.records import BrokenEvent, TrackingRecord
from tamis.tracking.chain import Reconstruction, Tracks
from tamis.tracking.columns import TRACK_TYPES, track_values
from tamis.tracking.counters import HardwareCounters
from tamis.tracking.opening import warm_up
from tamis.tracking.physics import PhysicsTally
from tamis.tracking.profile import StageProfile
from tamis.tracking.reading import CellEvent
from tamis.tracking.stage_columns import stage_columns
from tamis.tracking.summary import is_summary, write_summary
from tamis.tracking.workers import TrackedEvent, Wanted, tracked_events

CHUNK_EVENTS, KEPT_CHUNK_EVENTS = 20, 2  # that are written together


@dataclass
class _Tally:
    """Times, counts and physics of the events so far."""

    profile: StageProfile
    physics: PhysicsTally = field(default_factory=PhysicsTally)
    cells: int = 0
    collisions: list[int] = field(default_factory=list)  # of pile-up, where the file has them
    tracks: int = 0
    broken: list[BrokenEvent] = field(default_factory=list)
    counters: str = ""  # why there are none
    begin_ns: int = 0

    def add(self, one: TrackedEvent) -> None:
        """Add one event."""
        self.begin_ns = min(self.begin_ns or one.begin_ns, one.begin_ns)
        if one.tracks is None:
            self.broken.append(BrokenEvent(event=one.event.number, reason=one.event.reason))
            return
        self.profile.add(one.sizes, one.nanoseconds, one.ticks, one.transfers)
        self.cells += one.cells
        if one.event.collisions is not None:
            self.collisions.append(one.event.collisions)
        self.tracks += len(one.tracks)
        if one.matches is not None:
            self.physics.add(one.tracks, one.matches, one.event.collisions)


def track_file(
    source: Path,
    reconstruction: Reconstruction,
    out: Path | None = None,
    advance: Callable[[int], None] = lambda _: None,
    workers: int = 1,
    *,
    keep_stages: bool = False,
    at_once: int = 1,
) -> TrackingRecord:
    """Reconstruct the events of a file; an event that is broken is written without tracks and told with its reason."""
    tally = _Tally(StageProfile(reconstruction.devices))
    wanted = Wanted(stages=keep_stages, summary=out is not None and is_summary(out))
    if workers == 1:
        warm_up(reconstruction)
    with _counting(reconstruction, tally):
        tracked = tracked_events(source, reconstruction, workers, wanted, at_once=at_once)
        found = _reconstructed(tracked, tally, advance)
        if out is None:
            for _ in found:
                pass
        elif wanted.summary:
            for one in found:
                write_summary(out, one.event, one.summary)
        else:
            with open_writer(out) as writer:
                chunk = KEPT_CHUNK_EVENTS if keep_stages else CHUNK_EVENTS
                while events := list(islice(found, chunk)):
                    writer.write(_columns(events, keep_stages=keep_stages))
    if not tally.profile.events and not tally.broken:
        raise DataError(f"{source} has no events")
    seconds = (now_ns() - tally.begin_ns) / 1e9
    return _record(source, reconstruction, tally, seconds, workers, at_once)


@contextmanager
def _counting(reconstruction: Reconstruction, tally: _Tally) -> Iterator[None]:
    """Count instructions and clocks where the host lets us."""
    try:
        reconstruction.counters = HardwareCounters()
    except OSError as error:
        tally.counters = str(error)
        yield
        return
    try:
        yield
    finally:
        reconstruction.counters.close()
        reconstruction.counters = None


def _reconstructed(
    tracked: Iterator[TrackedEvent], tally: _Tally, advance: Callable[[int], None]
) -> Iterator[TrackedEvent]:
    for one in tracked:
        advance(1)
        tally.add(one)
        yield one


def _columns(events: list[TrackedEvent], *, keep_stages: bool) -> Events:
    tracks = track_columns([(one.event, one.tracks) for one in events])
    if not keep_stages:
        return tracks
    stages = stage_columns([one.stage_values for one in events])
    return Events.of({name: tracks[name] for name in tracks.array.fields} | stages)


def track_columns(events: Sequence[tuple[CellEvent, Tracks | None]]) -> Events:
    """Return tracks as columns; an event without them has `tamis_tracking_error`."""
    numbers = {
        "run": np.array([event.run for event, _ in events], np.uint32),
        "luminosityBlock": np.array([event.lumi for event, _ in events], np.uint32),
        "event": np.array([event.number for event, _ in events], np.uint64),
        "tamis_tracking_error": np.array([tracks is None for _, tracks in events]),
    }
    counts = [0 if tracks is None else len(tracks) for _, tracks in events]
    values = [track_values(tracks) for _, tracks in events if tracks is not None]
    columns = {
        f"Track_{name}": ak.unflatten(
            np.concatenate([*(one[name] for one in values), np.zeros(0, kind)]), counts
        )
        for name, kind in TRACK_TYPES.items()
    }
    return Events.of(numbers | columns)


def _record(
    source: Path, reconstruction: Reconstruction, tally: _Tally, seconds: float, workers: int, at_once: int
) -> TrackingRecord:
    profile, events = tally.profile, tally.profile.events
    return TrackingRecord(
        created=utc_timestamp(), host=host_facts(), source=str(source), detector=reconstruction.detector.name, events=events,
        broken=tally.broken, tracks=tally.tracks, cells_per_event=tally.cells / max(events, 1), stages=profile.stages(),
        together=profile.together(), physics=tally.physics.result(), boundaries=profile.boundaries(), transfers=profile.transfers(),
        pile_up=float(np.mean(tally.collisions)) if tally.collisions else None, simulated_gpu=reconstruction.is_simulated,
        counters=tally.counters, workers=workers, at_once=at_once, seconds=seconds, events_per_second=(events + len(tally.broken)) / seconds,
    )  # fmt: skip
