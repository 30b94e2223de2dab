"""Blocks of a simulation, or of other work, in order, in this process or in worker processes."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from tamis._base import TamisError, UsageError, end_with_parent, interruptible, require

WORKERS_MAX = 1024

Task = TypeVar("Task")
Block = TypeVar("Block")


def check_simulation(rows: int, what: str, seed: int, workers: int, *, collisions: bool) -> None:
    """Check the arguments now instead of at the first block."""
    if rows < 1:
        raise UsageError(f"the number of {what} is {rows}; it must be at least 1")
    if seed < 0:
        raise UsageError(f"the seed is {seed}; it must be 0 or more")
    if not 1 <= workers <= WORKERS_MAX:
        raise UsageError(f"the number of workers is {workers}; it must be 1 to {WORKERS_MAX}")
    if collisions:
        require("pythia8mc", extra="simulate", purpose="simulating collisions")
        require("fastjet", extra="simulate", purpose="clustering jets")


def in_order(
    make: Callable[[Task], Block],
    tasks: Iterator[Task],
    workers: int,
    prepare: Callable[[], None] | None = None,
) -> Iterator[Block]:
    """Yield the block of every task in order, with at most two blocks per worker in flight; workers are spawned.

    `prepare` is called once in each worker, before its first task; with one worker there is no other process, and it is not called.
    """
    return map(make, tasks) if workers == 1 else _in_parallel(make, tasks, workers, prepare)


def _in_parallel(
    make: Callable[[Task], Block],
    tasks: Iterator[Task],
    workers: int,
    prepare: Callable[[], None] | None,
) -> Iterator[Block]:
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(prepare,),
    )
    pending: deque[Future[Block]] = deque()
    with interruptible() as check:
        try:
            for task in tasks:
                pending.append(pool.submit(make, task))
                if len(pending) == 2 * workers:
                    yield pending.popleft().result()
                check()
            while pending:
                yield pending.popleft().result()
                check()
        except BrokenProcessPool as error:
            raise TamisError("a worker died, possibly out of memory: try fewer workers") from error
        finally:
            # Terminate the workers instead of waiting up to a minute for unused blocks.
            processes = list((pool._processes or {}).values())  # Python 3.14 has a public method
            results, thread = pool._result_queue, pool._executor_manager_thread
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()
            for process in processes:
                process.join()
            # A worker may have ended within a result, whose rest the thread of the pool awaits until nobody can write it.
            results._writer.close()  # type: ignore[attr-defined] # as private as the processes above
            # Python wakes that thread at its exit without a lock: a thread that ends just then has closed the pipe to write to.
            if thread is not None:
                thread.join()  # type: ignore[attr-defined] # typeshed names the wrong class


def _start_worker(prepare: Callable[[], None] | None) -> None:
    """Ignore Ctrl-C, which the parent handles, and exit when the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    if prepare is not None:
        prepare()
