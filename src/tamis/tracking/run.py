"""Reconstruct the events of a file, and write their tracks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import awkward as ak
import numpy as np

from tamis._base import DataError, host_facts, utc_timestamp
from tamis.events import Events, open_writer
from tamis.records import BrokenEvent, TrackingRecord
from tamis.tracking.chain import Reconstruction, StageObjects, Tracks
from tamis.tracking.counters import HardwareCounters
from tamis.tracking.physics import PhysicsTally
from tamis.tracking.profile import StageProfile
from tamis.tracking.reading import CellEvent, read_cell_events
from tamis.tracking.stage_columns import stage_columns
from tamis.tracking.summary import is_summary, write_summary

CHUNK_EVENTS, KEPT_CHUNK_EVENTS = 20, 2  # that are written together


@dataclass
class _Tally:
    """Times, counts and physics of the events so far."""

    profile: StageProfile = field(default_factory=StageProfile)
    physics: PhysicsTally = field(default_factory=PhysicsTally)
    cells: int = 0
    tracks: int = 0
    broken: list[BrokenEvent] = field(default_factory=list)
    counters: str = ""  # why there are none


def track_file(
    source: Path,
    reconstruction: Reconstruction,
    out: Path | None = None,
    advance: Callable[[int], None] = lambda _: None,
    *,
    keep_stages: bool = False,
) -> TrackingRecord:
    """Reconstruct the events of a file; an event that is broken is written without tracks and told with its reason."""
    tally = _Tally()
    with _counting(reconstruction, tally):
        on_host = keep_stages or (out is not None and is_summary(out))
        found = _reconstructed(source, reconstruction, tally, advance, on_host=on_host)
        if out is None:
            for _ in found:
                pass
        elif is_summary(out):
            for event, objects in found:
                write_summary(out, event, objects)
        else:
            with open_writer(out) as writer:
                chunk = KEPT_CHUNK_EVENTS if keep_stages else CHUNK_EVENTS
                while events := list(islice(found, chunk)):
                    writer.write(_columns(events, reconstruction, keep_stages=keep_stages))
    if not tally.profile.events and not tally.broken:
        raise DataError(f"{source} has no events")
    return _record(source, reconstruction, tally)


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
    source: Path,
    reconstruction: Reconstruction,
    tally: _Tally,
    advance: Callable[[int], None],
    *,
    on_host: bool,
) -> Iterator[tuple[CellEvent, StageObjects | None]]:
    detector = reconstruction.detector
    first = True
    for event in read_cell_events(source, detector.modules):
        advance(1)
        if event.cells is None:
            tally.broken.append(BrokenEvent(event=event.number, reason=event.reason))
            yield event, None
            continue
        if first:
            reconstruction(event.cells)  # compiles, or loads what was compiled before
            first = False
        objects = reconstruction.stages(event.cells, on_host=on_host)
        tracks = objects.tracks
        tally.profile.add(objects, reconstruction.nanoseconds, reconstruction.ticks)
        tally.cells += len(event.cells)
        tally.tracks += len(tracks)
        if event.truth is not None:
            tally.physics.add(tracks, event.truth, detector.field, event.collisions)
        yield event, objects


def _columns(
    events: list[tuple[CellEvent, StageObjects | None]], reconstruction: Reconstruction, *, keep_stages: bool
) -> Events:
    tracks = track_columns([(event, None if one is None else one.tracks) for event, one in events])
    if not keep_stages:
        return tracks
    detector = reconstruction.detector
    stages = stage_columns([one for _, one in events], detector.modules, detector.field)
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
    found = [tracks for _, tracks in events if tracks is not None]

    def jagged(values: list[np.ndarray], kind: type) -> ak.Array:
        return ak.unflatten(np.concatenate([*values, np.zeros(0)]).astype(kind), counts)

    columns = {}
    for k, name in enumerate(("d0", "dz", "phi", "theta", "qop")):
        columns[f"Track_{name}"] = jagged([one.parameters[:, k] for one in found], np.float32)
        columns[f"Track_{name}Err"] = jagged(
            [np.sqrt(np.maximum(one.covariance[:, k, k], 0)) for one in found], np.float32
        )
    momentum = [1 / np.maximum(np.abs(one.parameters[:, 4]), 1e-12) for one in found]
    columns["Track_pt"] = jagged(
        [p * np.sin(one.parameters[:, 3]) for p, one in zip(momentum, found, strict=True)], np.float32
    )
    columns["Track_eta"] = jagged([-np.log(np.tan(one.parameters[:, 3] / 2)) for one in found], np.float32)
    columns["Track_charge"] = jagged([np.sign(one.parameters[:, 4]) for one in found], np.int16)
    columns["Track_chi2"] = jagged([one.chi2 for one in found], np.float32)
    columns["Track_nHits"] = jagged([one.counts for one in found], np.int16)
    columns["Track_nHoles"] = jagged([one.holes for one in found], np.int16)
    return Events.of(numbers | columns)


def _record(source: Path, reconstruction: Reconstruction, tally: _Tally) -> TrackingRecord:
    profile, events = tally.profile, tally.profile.events
    return TrackingRecord(
        created=utc_timestamp(), host=host_facts(), source=str(source), detector=reconstruction.detector.name, events=events,
        broken=tally.broken, tracks=tally.tracks, cells_per_event=tally.cells / max(events, 1), stages=profile.stages(),
        together=profile.together(), physics=tally.physics.result(), boundaries=profile.boundaries(), counters=tally.counters,
    )  # fmt: skip
