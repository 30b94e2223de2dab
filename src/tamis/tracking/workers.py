"""Reconstruct events one after the other, several at once on a GPU, or in several processes; the result is the same."""

from __future__ import annotations

import pickle
import queue
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from tamis._base import TamisError, UsageError, now_ns
from tamis.simulate.parallel import WORKERS_MAX, in_order
from tamis.tracking.chain import Reconstruction, Tracks
from tamis.tracking.counters import HardwareCounters
from tamis.tracking.devices import Transfer
from tamis.tracking.matching import FOUND_ETA_MAX, FOUND_PT_MIN, Matches, match_tracks
from tamis.tracking.opening import warm_up
from tamis.tracking.profile import boundary_sizes
from tamis.tracking.reading import CellBlock, CellEvent, cell_blocks, read_cell_block, read_cell_events
from tamis.tracking.stage_columns import stage_values
from tamis.tracking.summary import summary_rows

AT_ONCE_MAX = 64


@dataclass(frozen=True)
class TrackedEvent:
    """The tracks of an event; of the event itself only the identity is left, or the reason why it has none."""

    event: CellEvent
    begin_ns: int  # when the reading of its block began, by the clock that all processes share
    tracks: Tracks | None = None
    cells: int = 0
    nanoseconds: dict[str, int] = field(default_factory=dict)  # of each stage
    ticks: dict[str, tuple[int, int]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)  # objects and bytes at each boundary
    transfers: list[Transfer] = field(default_factory=list)
    matches: Matches | None = None  # if the truth is known
    stage_values: dict[str, np.ndarray] | None = None  # if they are wanted
    summary: list[str] = field(default_factory=list)  # if it is wanted


@dataclass(frozen=True)
class Wanted:
    """The requested outputs of each event besides its tracks."""

    stages: bool = False
    summary: bool = False


@dataclass(frozen=True)
class _TrackedBlock:
    events: list[TrackedEvent]
    problem: tuple[str, int] | None  # the message and the exit code of an error that ended the block


def track_event(
    event: CellEvent, reconstruction: Reconstruction, begin_ns: int, wanted: Wanted
) -> TrackedEvent:
    """Reconstruct one event."""
    if event.cells is None:
        return TrackedEvent(event, begin_ns)
    objects = reconstruction.stages(event.cells, on_host=wanted.stages or wanted.summary)
    tracks, detector = objects.tracks, reconstruction.detector
    matches = None
    if event.truth is not None:
        particle = event.truth.of_cell[tracks.first_cell]
        matches = match_tracks(
            tracks, particle, event.truth, detector.field, pt_min=FOUND_PT_MIN, eta_max=FOUND_ETA_MAX, field_map=detector.field_map
        )  # fmt: skip
    return TrackedEvent(
        replace(event, cells=None, truth=None), begin_ns, tracks, len(event.cells), dict(reconstruction.nanoseconds),
        dict(reconstruction.ticks), boundary_sizes(objects), list(reconstruction.transfers), matches,
        stage_values(objects, detector.modules, detector.field) if wanted.stages else None,
        summary_rows(objects, event.truth) if wanted.summary else [],
    )  # fmt: skip


def tracked_events(
    source: Path,
    reconstruction: Reconstruction,
    workers: int = 1,
    wanted: Wanted | None = None,
    *,
    at_once: int = 1,
) -> Iterator[TrackedEvent]:
    """Yield the tracks of every event of a source, in its order; each of several workers reads its own events.

    `at_once` events are on a GPU at the same time, each with its own stream.
    """
    if not 1 <= workers <= WORKERS_MAX:
        raise UsageError(f"the number of workers is {workers}; it must be 1 to {WORKERS_MAX}")
    if not 1 <= at_once <= AT_ONCE_MAX:
        raise UsageError(f"the number of events at once is {at_once}; it must be 1 to {AT_ONCE_MAX}")
    if at_once > 1 and (workers > 1 or not reconstruction.uses_gpu):
        raise UsageError(
            "several events at once are for a GPU and one process: name stages of the GPU, such as all=cuda; on the CPU use workers instead"
        )
    wanted = wanted or Wanted()
    if at_once > 1:
        yield from _tracked_at_once(source, reconstruction, at_once, wanted)
        return
    if workers == 1:
        begin_ns = now_ns()
        for event in read_cell_events(source, reconstruction.detector.modules):
            yield track_event(event, reconstruction, begin_ns, wanted)
        return
    yield from _tracked_by_workers(source, reconstruction, workers, wanted)


def _tracked_at_once(
    source: Path, reconstruction: Reconstruction, at_once: int, wanted: Wanted
) -> Iterator[TrackedEvent]:
    """Reconstruct by threads, each with arrays and a stream of its own: they wait for the GPU most of the time."""
    one, begin_ns = reconstruction, now_ns()
    idle: queue.SimpleQueue[Reconstruction] = queue.SimpleQueue()
    for _ in range(at_once):
        idle.put(Reconstruction(one.detector, one.layers, one.seeding, one.finding, one.devices))

    def track(event: CellEvent) -> TrackedEvent:
        own = idle.get()
        try:
            return track_event(event, own, begin_ns, wanted)
        finally:
            idle.put(own)

    events, problem = read_cell_events(source, one.detector.modules), None
    pending: deque[Future[TrackedEvent]] = deque()
    with ThreadPoolExecutor(at_once, thread_name_prefix="event") as pool:
        try:
            while problem is None:
                try:
                    pending.append(pool.submit(track, next(events)))
                except (StopIteration, TamisError) as error:
                    problem = error
                if len(pending) == 2 * at_once:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
    if isinstance(problem, TamisError):  # after the events before it
        raise problem


def _tracked_by_workers(
    source: Path, reconstruction: Reconstruction, workers: int, wanted: Wanted
) -> Iterator[TrackedEvent]:
    blocks = cell_blocks(source, workers)
    one = reconstruction
    with tempfile.TemporaryDirectory() as folder:
        # In a file, as a process is started only when the one before has received its arguments.
        opened = Path(folder) / "reconstruction"
        opened.write_bytes(
            pickle.dumps(
                (
                    one.detector,
                    one.layers,
                    one.seeding,
                    one.finding,
                    one.devices,
                    one.counters is not None,
                    wanted,
                )
            )
        )
        for block in in_order(_track_block, iter(blocks), workers, partial(_prepare, opened)):
            yield from block.events
            if block.problem is not None:
                error = TamisError(block.problem[0])
                error.exit_code = block.problem[1]  # set on the instance
                raise error


_prepared: list[tuple[Reconstruction, Wanted]] = []  # those of a worker


def _prepare(opened: Path) -> None:
    *arguments, counting, wanted = pickle.loads(opened.read_bytes())  # noqa: S301 - of the parent
    reconstruction = Reconstruction(*arguments)
    if counting:
        reconstruction.counters = HardwareCounters()
    warm_up(reconstruction)
    _prepared.append((reconstruction, wanted))


def _track_block(block: CellBlock) -> _TrackedBlock:
    begin_ns, events = now_ns(), list[TrackedEvent]()
    reconstruction, wanted = _prepared[0]
    try:
        events.extend(
            track_event(event, reconstruction, begin_ns, wanted)
            for event in read_cell_block(block, reconstruction.detector.modules)
        )
    except TamisError as error:
        return _TrackedBlock(events, (str(error), error.exit_code))
    return _TrackedBlock(events, None)
