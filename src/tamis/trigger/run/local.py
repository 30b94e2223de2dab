"""Process units in this process: in batch mode the next unit is read while one is decided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tamis._base import now_ns
from tamis.events import EventFile
from tamis.trigger.menu import CompiledMenu
from tamis.trigger.run.documents import RunPlan, RunUnit, UnitResult
from tamis.trigger.run.worker import Care, Read, Worker


def run_here(
    plan: RunPlan,
    compiled: CompiledMenu,
    out: Path,
    work: Iterable[tuple[RunUnit, Care] | None],
    pulse: Any = None,
    held: dict[int, EventFile] | None = None,
) -> Iterator[UnitResult]:
    """Process units one after the other; yields their results.

    The next item of `work` is requested as soon as a unit is started; None means that the current one must be finished first.
    """
    if plan.mode == "event":
        # Read between units, as a thread that reads delays the event in flight by tens of milliseconds.
        with Worker(plan, compiled, out, pulse, held) as worker:
            for entry in work:
                if entry is not None:
                    start = now_ns()
                    read = worker.read(entry[0])
                    yield worker.work(read, entry[1], waited_ns=now_ns() - start)
        return
    with Worker(plan, compiled, out, pulse, held) as worker, ThreadPoolExecutor(1) as reader:
        ahead: tuple[Future[Read], Care] | None = None
        for entry in work:
            following = None if entry is None else (reader.submit(worker.read, entry[0]), entry[1])
            if ahead is not None:
                yield _done(worker, *ahead)
            ahead = following
        if ahead is not None:
            yield _done(worker, *ahead)


def _done(worker: Worker, ahead: Future[Read], care: Care) -> UnitResult:
    start = now_ns()
    read = ahead.result()
    return worker.work(read, care, waited_ns=now_ns() - start)
