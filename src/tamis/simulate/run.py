"""Simulation: blocks of events in order, in this process or in worker processes."""

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
from tamis.simulate.settings import SimulationSettings, generator_lines, pile_up_lines

WORKERS_MAX = 1024


def simulate(
    process: str, n: int, *, seed: int, workers: int = 1, settings: SimulationSettings | None = None
) -> Iterator[Events]:
    """Yield exactly n events in batches of up to 250; they do not depend on the number of workers.

    A longer run with the same seed begins with the same events. With several workers, which are spawned, the calling script
    needs the usual `if __name__ == "__main__":`.
    """
    settings = settings or SimulationSettings()
    _check(process, n, seed, workers, settings)
    tasks = (
        Task(process, settings, seed, block, min(BLOCK_EVENTS, n - block * BLOCK_EVENTS))
        for block in range(-(-n // BLOCK_EVENTS))
    )
    return map(make_block, tasks) if workers == 1 or n <= BLOCK_EVENTS else _in_parallel(tasks, workers)


def _check(process: str, n: int, seed: int, workers: int, settings: SimulationSettings) -> None:
    """Check the arguments now instead of at the first batch."""
    generator_lines(process, settings)
    pile_up_lines(settings)
    if n < 1:
        raise UsageError(f"the number of events is {n}; it must be at least 1")
    if seed < 0:
        raise UsageError(f"the seed is {seed}; it must be 0 or more")
    if not 1 <= workers <= WORKERS_MAX:
        raise UsageError(f"the number of workers is {workers}; it must be 1 to {WORKERS_MAX}")
    require("pythia8mc", extra="simulate", purpose="simulating collisions")
    require("fastjet", extra="simulate", purpose="clustering jets")


def _in_parallel(tasks: Iterator[Task], workers: int) -> Iterator[Events]:
    """Yield the results in order, with at most two blocks per worker in flight."""
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
            raise TamisError("a simulation worker died, possibly out of memory: try fewer workers") from error
        finally:
            # Terminate the workers instead of waiting up to a minute for unused blocks.
            processes = list((pool._processes or {}).values())  # Python 3.14 has a public method
            results = pool._result_queue
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()
            for process in processes:
                process.join()
            # A worker may have ended within a result, whose rest the thread of the pool awaits until nobody can write it.
            results._writer.close()  # type: ignore[attr-defined] # as private as the processes above


def _start_worker() -> None:
    """Ignore Ctrl-C, which the parent handles, and exit when the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
