"""Units done in this process: the next one is read while one is decided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from quickbeam.trigger.menu import Compiled
from quickbeam.trigger.run.documents import Plan, Unit, UnitResult
from quickbeam.trigger.run.worker import Read, Worker


def run_here(plan: Plan, compiled: Compiled, out: Path, units: Iterable[Unit]) -> Iterator[UnitResult]:
    """Do units one after the other; `units` is asked for the next one as soon as one is begun."""
    with Worker(plan, compiled, out) as worker, ThreadPoolExecutor(1) as reader:
        ahead: Future[Read] | None = None
        for unit in units:
            following = reader.submit(worker.read, unit)
            if ahead is not None:
                yield worker.work(ahead.result())
            ahead = following
        if ahead is not None:
            yield worker.work(ahead.result())
