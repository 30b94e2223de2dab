"""Runs: blocks of events in order, made here or by worker processes."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from tamis._base import TamisError, UsageError, end_with_parent, interruptible, require
from tamis.events import Events
from tamis.simulate.blocks import BLOCK_EVENTS, Task, make_block
from tamis.simulate.settings import Settings, generator_lines, pile_up_lines

WORKERS_MAX = 1024


def simulate(
    process: str, n: int, *, seed: int, workers: int = 1, settings: Settings | None = None
) -> Iterator[Events]:
    """Yield exactly n events, in batches of up to 250, the same ones whatever the number of workers.

    More events with the same seed begin with the same events. With more than one worker the calling script needs the usual
    `if __name__ == "__main__":`, since workers are started afresh.
    """
    settings = settings or Settings()
    _check(process, n, seed, workers, settings)
    tasks = (
        Task(process, settings, seed, block, min(BLOCK_EVENTS, n - block * BLOCK_EVENTS))
        for block in range(-(-n // BLOCK_EVENTS))
    )
    return map(make_block, tasks) if workers == 1 or n <= BLOCK_EVENTS else _in_parallel(tasks, workers)


def _check(process: str, n: int, seed: int, workers: int, settings: Settings) -> None:
    """Tell about a bad call now, not when the first batch is asked for."""
    generator_lines(process, settings)
    pile_up_lines(settings)
    if n < 1:
        raise UsageError(f"{n} events were asked for; it takes at least 1")
    if seed < 0:
        raise UsageError(f"the seed is {seed}; it has to be 0 or more")
    if not 1 <= workers <= WORKERS_MAX:
        raise UsageError(f"{workers} workers were asked for; it takes 1 to {WORKERS_MAX}")
    require("pythia8mc", extra="simulate", purpose="simulating collisions")
    require("fastjet", extra="simulate", purpose="clustering jets")


def _in_parallel(tasks: Iterator[Task], workers: int) -> Iterator[Events]:
    """Keep every worker busy with two blocks at most, and hand the results out in order."""
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    pending: deque[Future[Events]] = deque()
    with interruptible() as check:
        try:
            for task in tasks:
                pending.append(pool.submit(make_block, task))
                if len(pending) == 2 * workers:
                    yield pending.popleft().result()
                check()
            while pending:
                yield pending.popleft().result()
                check()
        except BrokenProcessPool as error:
            raise TamisError("a simulation worker died (out of memory?): try fewer workers") from error
        finally:
            _stop(pool)


def _stop(pool: ProcessPoolExecutor) -> None:
    """End the workers now: a block in the making may take a minute, and nobody waits for it any more."""
    processes = list((pool._processes or {}).values())  # the public way comes with Python 3.14
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end when it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
