"""Rows for `tamis monitor`: what a service did in each second, in a folder that grows by one file for each minute.

The event loop only hands over the times of the requests; a thread computes the rows and writes them. A block of rows that
cannot be written is tried again with the next ones, and in the end counted as lost: no request waits for it or fails by it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tamis._base import TamisError, atomic_path
from tamis.serve.models.request_times import RequestTimes, TakenRequests

BLOCK_STEPS = 60  # seconds of a block
UNIT_NS = 10_000  # of the sums of times: the `resolution` in a watch file
LARGEST_UNITS = 1 << 20  # 10.5 s: longer times count as this, so that a million squares fit into 64 bits
RATE_MOST = 99_999.0  # monitors take conditions below 100,000
STEPS_WAITING = 120  # for the thread, before further ones are lost
BLOCKS_HELD = 60  # that could not be written, before the oldest one is lost
BLOCKS_KEPT = 7 * 24 * 60  # files of the folder: a week
LAST_BLOCK_S = 10.0  # for the last block, at shutdown
LATENCY_QUANTILES = {"p50_us": 0.5, "p99_us": 0.99}
SERVED_FILE = re.compile(r"served-(\d+)-(\d+)(-\d+){0,2}\.parquet")
END_OF_BLOCK = re.compile(r"run(\d+)_ls(\d+)_EoLS\.jsn")
_log = logging.getLogger(__name__)

StreamRow = dict[str, int | float]


@dataclass(frozen=True)
class StreamSettings:
    """Where a service writes its stream; all workers of a server have the same run and the same beginning."""

    folder: Path
    run: int = 0  # 0: the time of the start
    begin_s: float = 0.0  # of the run, on the monotonic clock of the machine
    worker: int | None = None  # of several
    block_steps: int = BLOCK_STEPS

    def begun(self) -> StreamSettings:
        """Return the settings of a run that begins now, with a higher number than all those in the folder."""
        found = (SERVED_FILE.fullmatch(name) for name in _names_in(self.folder))
        newest = max((int(one[1]) for one in found if one is not None), default=0)
        return replace(self, run=max(int(time.time()), newest + 1), begin_s=time.monotonic())


class ServedSecond(NamedTuple):
    """The requests of one second."""

    number: int  # since the begin of the run
    length_s: float  # more than a second where the event loop was late, less at the end of the run
    models: Mapping[str, TakenRequests]


class ServiceStream:
    """The stream of one server process, from the start of its models to its end."""

    def __init__(self, settings: StreamSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin a run unless the settings are those of one that has begun."""
        self._settings = settings if settings.run else settings.begun()
        self._clock, self._models = clock, dict[str, RequestTimes]()
        self._last_s, self._number = self._settings.begin_s, 0
        self._timer: asyncio.TimerHandle | None = None
        self._dropped = 0
        self._writer = _StreamWriter(self._settings)

    @property
    def written(self) -> int:
        """Return how many seconds are in files."""
        return self._writer.written

    @property
    def lost(self) -> int:
        """Return how many seconds could not be written."""
        return self._dropped + self._writer.lost

    def times_of(self, model: str) -> RequestTimes:
        """Return where the requests of a model are recorded: one place for all its versions, now and later."""
        return self._models.setdefault(model, RequestTimes())

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """End a second at each full one since the begin of the run."""
        self._last_s = max(self._clock(), self._settings.begin_s)
        self._number = int(self._last_s - self._settings.begin_s)
        self._writer.start()
        self._schedule(loop)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        def on_timer() -> None:
            self.end_second()
            self._schedule(loop)

        due_s = self._settings.begin_s + self._number + 1
        self._timer = loop.call_later(max(0.001, due_s - self._clock()), on_timer)

    def end_second(self) -> None:
        """Hand the requests since the last call to the thread."""
        now_s = self._clock()
        taken = {name: times.take() for name, times in self._models.items()}
        second = ServedSecond(self._number, now_s - self._last_s, taken)
        self._last_s = now_s
        # Timers may be a little early or, when the loop was busy, late: seconds without rows are then left out.
        self._number = max(self._number + 1, int(now_s - self._settings.begin_s))
        if not self._writer.take(second):
            self._dropped += 1

    async def close(self) -> None:
        """Write the last block, which is shorter, and the mark of its end; wait for that for a limited time."""
        if self._timer is None:
            return
        self._timer.cancel()
        self.end_second()
        await asyncio.to_thread(self._writer.end, LAST_BLOCK_S)
        if self.lost:
            _log.warning("%s s of the service could not be written to %s", self.lost, self._settings.folder)


class _StreamWriter(threading.Thread):
    """Computes rows, and writes those of a block to a file of their own."""

    def __init__(self, settings: StreamSettings) -> None:
        super().__init__(daemon=True, name="stream for a monitor")
        self._settings = settings
        self._seconds: queue.Queue[ServedSecond | None] = queue.Queue(STEPS_WAITING)
        self._block, self._rows = 0, list[StreamRow]()  # the block in progress
        self._held: deque[tuple[int, list[StreamRow]]] = deque()  # complete, and not yet written
        self._fails = False
        self.written = self.lost = 0

    def take(self, second: ServedSecond) -> bool:
        """Queue a second; return False if the thread is too far behind."""
        try:
            self._seconds.put_nowait(second)
        except queue.Full:
            return False
        return True

    def end(self, timeout_s: float) -> None:
        """Let the thread write what it has, and wait for that."""
        until = time.monotonic() + timeout_s
        try:
            self._seconds.put(None, timeout=timeout_s)
        except queue.Full:
            pass
        else:
            self.join(max(0.0, until - time.monotonic()))
        if self.is_alive():
            self.lost += len(self._rows) + sum(len(rows) for _, rows in self._held) + self._seconds.qsize()

    def run(self) -> None:
        """Work until `end`."""
        import pyarrow.parquet  # noqa: F401 - takes a while, and not when the first block is written

        self._prune()
        while (second := self._seconds.get()) is not None:
            block, step = divmod(second.number, self._settings.block_steps)
            if block + 1 != self._block:
                self._end_block()
            self._block = block + 1
            self._rows.append(row_of(second, self._settings.run, self._block, step))
            if step == self._settings.block_steps - 1:
                self._end_block()
        self._end_block()
        self.lost += sum(len(rows) for _, rows in self._held)
        self._held.clear()

    def _end_block(self) -> None:
        if not self._rows:
            return
        self._held.append((self._block, self._rows))
        self._rows = []
        try:
            while self._held:
                self._write(*self._held[0])
                self.written += len(self._held.popleft()[1])
            if self._block % BLOCK_STEPS == 0:
                self._prune()
            self._fails = False
        except (OSError, TamisError) as error:
            if not self._fails:
                _log.warning(
                    "the stream for a monitor cannot be written to %s: %s; the service goes on, and the last %s minutes are kept until they can be",
                    self._settings.folder, error, BLOCKS_HELD,
                )  # fmt: skip
            self._fails = True
            while len(self._held) > BLOCKS_HELD:
                self.lost += len(self._held.popleft()[1])

    def _write(self, block: int, rows: list[StreamRow]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder, run, worker = self._settings.folder, self._settings.run, self._settings.worker
        names = dict.fromkeys(name for row in rows for name in row)  # models may come within a block
        table = pa.table({name: [row.get(name, missing_of(name)) for row in rows] for name in names})
        stem = f"served-{run}-{block:06d}"
        if worker is not None:
            stem += f"-{worker}"
            # A worker that ended within this minute and was started again has written a part of it before.
            parts = sum(name.startswith((f"{stem}.", f"{stem}-")) for name in _names_in(folder))
            stem += f"-{parts}" if parts else ""
        with atomic_path(folder / f"{stem}.parquet") as path:
            pq.write_table(table, path, compression="zstd")
        if worker is None:
            mark_end(folder, run, block)

    def _prune(self) -> None:
        """Remove the files of the oldest blocks; of several workers, the first one does."""
        if self._settings.worker in (None, 0):
            prune(self._settings.folder, BLOCKS_KEPT)


def prune(folder: Path, blocks: int) -> None:
    """Remove the files of a service of all but the newest blocks; other files of the folder stay."""
    by_block: dict[tuple[int, int], list[str]] = {}
    for name in _names_in(folder):
        found = SERVED_FILE.fullmatch(name) or END_OF_BLOCK.fullmatch(name)
        if found is not None:
            by_block.setdefault((int(found[1]), int(found[2])), []).append(name)
    for key in sorted(by_block)[:-blocks]:
        for name in by_block[key]:
            try:
                (folder / name).unlink(missing_ok=True)
            except OSError as error:
                _log.warning("the old file %s cannot be removed: %s", folder / name, error.strerror)
                return


def mark_end(folder: Path, run: int, block: int) -> None:
    """Write the mark that all files of a block are there."""
    with atomic_path(folder / f"run{run}_ls{block:04d}_EoLS.jsn") as path:
        path.write_text(json.dumps({"run": run, "luminosityBlock": block}) + "\n", encoding="utf-8")


def mark_last(folder: Path, run: int) -> None:
    """Write the mark of the last block of a run whose workers have all ended."""
    found = (SERVED_FILE.fullmatch(name) for name in _names_in(folder))
    blocks = [int(one[2]) for one in found if one is not None and int(one[1]) == run]
    try:
        if blocks:
            mark_end(folder, run, max(blocks))
    except (OSError, TamisError) as error:
        _log.warning("the end of run %s cannot be marked in %s: %s", run, folder, error)


def _names_in(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


def missing_of(name: str) -> int | float:
    """Return what a column has for a second in which its model was not there: a quantile has no value then."""
    return np.nan if name.endswith(tuple(LATENCY_QUANTILES)) else 0


def row_of(second: ServedSecond, run: int, block: int, step: int) -> StreamRow:
    """Return the row of a second: numbers of requests, and of each model sums of times and of their squares, in units."""
    models = second.models
    failed = sum(taken.failed for taken in models.values())
    answered = sum(len(taken.elapsed_ns) for taken in models.values())
    requests = answered + failed
    row: StreamRow = {
        "run": run,
        "luminosityBlock": block,
        "event": second.number,
        "second": step,
        "request_rate": min(
            requests / max(1.0, second.length_s), RATE_MOST
        ),  # one request in 1 ms does not make 1,000 a second
        "requests": requests,
        "answered": answered,
        "failed": failed,
    }
    for name, taken in models.items():
        own = len(taken.elapsed_ns)
        row |= {
            f"{name}_requests": own + taken.failed,
            f"{name}_answered": own,
            f"{name}_failed": taken.failed,
            f"{name}_rows": taken.rows,
        }
        for what, spent_ns in zip(("latency", "queue", "compute"), taken[:3], strict=True):
            units = np.minimum(spent_ns / UNIT_NS, LARGEST_UNITS)
            row[f"{name}_{what}"] = int(np.rint(units.sum()))
            row[f"{name}_{what}2"] = int(np.rint(np.square(units).sum()))
        for what, fraction in LATENCY_QUANTILES.items():
            quantile = np.quantile(taken.elapsed_ns, fraction) / 1e3 if own else np.nan
            row[f"{name}_{what}"] = float(quantile)
    return row
