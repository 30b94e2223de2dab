"""Units done in this process: the next one is read while one is decided, or, event by event, when it is done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tamis._base import now_ns
from tamis.events import EventFile
from tamis.trigger.menu import Compiled
from tamis.trigger.run.documents import Plan, Unit, UnitResult
from tamis.trigger.run.worker import Care, Read, Worker


def run_here(
    plan: Plan,
    compiled: Compiled,
    out: Path,
    work: Iterable[tuple[Unit, Care] | None],
    pulse: Any = None,
    held: dict[int, EventFile] | None = None,
) -> Iterator[UnitResult]:
    """Do units one after the other; `work` is asked for the next one as soon as one is begun; it says None
    where it has none yet, and what is in hand is done first.
    """
    if plan.mode == "event":
        yield from _one_after_the_other(Worker(plan, compiled, out, pulse, held), work)
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


def _one_after_the_other(worker: Worker, work: Iterable[tuple[Unit, Care] | None]) -> Iterator[UnitResult]:
    """Read between units: a thread that reads would hold up the event in flight, by tens of milliseconds."""
    with worker:
        for entry in work:
            if entry is not None:
                start = now_ns()
                read = worker.read(entry[0])
                yield worker.work(read, entry[1], waited_ns=now_ns() - start)


def _done(worker: Worker, ahead: Future[Read], care: Care) -> UnitResult:
    start = now_ns()
    read = ahead.result()
    return worker.work(read, care, waited_ns=now_ns() - start)
