"""Process units in worker processes: one that dies or hangs costs time, but no event.

A unit whose worker died is processed again. After a second death its events are decided one by one, with a note of the one in
flight, to find the event that kills its process; it goes to the debug stream, and all others are decided as usual.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import time
from collections import deque
from collections.abc import Iterator, Sequence
from ctypes import c_int64
from functools import reduce
from multiprocessing.connection import Connection, Pipe, wait
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from typing import Any

from tamis._base import (
    TamisError,
    UsageError,
    end_with_parent,
    interruptible,
    now_ns,
    processes_with,
)
from tamis.trigger.menu import MenuSource, compile_menu
from tamis.trigger.run import parts
from tamis.trigger.run.documents import RunPlan, RunUnit, UnitResult
from tamis.trigger.run.local import run_here
from tamis.trigger.run.worker import Care, after_death
from tamis.trigger.stages import UserStage

WORKERS_LOAD = ("tamis.trigger.run.workers", "tamis.events.root")
WORKERS_MAX = 1024
IN_FLIGHT = 2  # units per worker: one is read while the other is decided
RESTART_S = 0.1
STARTS_MOST = 5  # consecutive starts that fail
_Work = tuple[RunUnit, Care]


@contextlib.contextmanager
def worker_processes(
    workers: int, source: MenuSource, plugged: dict[str, UserStage]
) -> Iterator[list[WorkerProcess]]:
    """Start workers, which open their models while the run is planned; end the unused ones."""
    if not 1 <= workers <= WORKERS_MAX:
        raise UsageError(f"the number of workers must be 1 to {WORKERS_MAX}, not {workers}")
    started: list[WorkerProcess] = []
    try:
        started.extend(WorkerProcess(source, plugged) for _ in range(workers))
        yield started
    finally:
        for process in started:
            process.end()


def run_in_processes(
    plan: RunPlan,
    out: Path,
    units: Sequence[RunUnit],
    started: list[WorkerProcess],
    stuck_s: float,
) -> Iterator[UnitResult]:
    """Process units on started workers; a worker without a heartbeat for `stuck_s` is killed and replaced."""
    pool = _Pool(plan, out, units, started, stuck_s)
    try:
        yield from pool.run(min(len(started), max(1, len(units))))
    finally:
        pool.stop()


class WorkerProcess:
    """A worker process and its queue of units."""

    def __init__(self, source: MenuSource, plugged: dict[str, UserStage]) -> None:
        """Start the process, which opens the models of a menu."""
        self.menu = (source, plugged)
        stages = {name: _address(name, user) for name, user in plugged.items()}
        self.pulse = RawValue(c_int64, 0)
        self.connection, theirs = Pipe()
        self.process = _start_process(theirs, self.pulse)
        theirs.close()
        self.work: deque[_Work] = deque()
        self.seen, self.seen_ns = -1, now_ns()
        self.dismissed = self.ready = False
        self._send((dict(os.environ), source, stages))

    def employ(self, plan: RunPlan, out: Path) -> None:
        """Send the plan of the run."""
        self._send((plan, out))
        self.seen_ns = now_ns()

    def again(self) -> WorkerProcess:
        """Start another worker for the same menu."""
        return WorkerProcess(*self.menu)

    def end(self) -> None:
        """End the process: if the worker was told to end, it gets 5 s to close its files, else it is killed."""
        self.process.join(timeout=5.0 if self.dismissed else 0.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()

    def give(self, work: _Work | None) -> None:
        """Send a unit, or None to end the worker."""
        if work is not None:
            self.work.append(work)
        self.dismissed = work is None
        self._send(work)

    def _send(self, what: object) -> None:
        with contextlib.suppress(OSError):  # the process is dead, which `_receive` will notice
            self.connection.send(what)

    def is_stuck(self, stuck_s: float) -> bool:
        """Return whether it has work, but no heartbeat for `stuck_s`."""
        pulse = self.pulse.value
        if pulse != self.seen or not self.work:
            self.seen, self.seen_ns = pulse, now_ns()
        return now_ns() - self.seen_ns > stuck_s * 1e9


def _start_process(connection: Connection, pulse: Any) -> BaseProcess:
    for attempt in range(STARTS_MOST):
        process = processes_with(WORKERS_LOAD).Process(target=_serve, args=(connection, pulse), daemon=True)
        try:
            process.start()
        except (EOFError, OSError) as error:  # the fork server has died meanwhile
            if attempt == STARTS_MOST - 1:
                raise TamisError(f"no worker can be started: {type(error).__name__}: {error}") from error
            time.sleep(RESTART_S)  # until the system has noticed, so that another fork server is started
        else:
            break
    return process


class _Pool:
    def __init__(
        self,
        plan: RunPlan,
        out: Path,
        units: Sequence[RunUnit],
        started: list[WorkerProcess],
        stuck_s: float,
    ) -> None:
        self.started = started
        self.plan, self.out, self.stuck_s = plan, out, stuck_s
        self.queue: deque[_Work] = deque((unit, Care()) for unit in units)
        self.deaths: dict[int, int] = {}
        self.failed_starts = 0
        self.processes: list[WorkerProcess] = []

    def run(self, workers: int) -> Iterator[UnitResult]:
        with interruptible() as check:
            self.processes = [self._employed(self.started.pop()) for _ in range(workers)]
            while any(process.work for process in self.processes) or self.queue:
                check()
                waited = {p.connection: p for p in self.processes}
                for connection in wait(list(waited), timeout=0.5):
                    process = waited[connection]  # type: ignore[index] # `wait` gets only connections
                    result = self._receive(process)
                    if result is not None:
                        yield result
                for process in self.processes:
                    if process.is_stuck(self.stuck_s):
                        process.process.kill()  # the next iteration notices its end
            for process in self.processes:
                process.give(None)

    def _employed(self, process: WorkerProcess) -> WorkerProcess:
        process.employ(self.plan, self.out)
        while self.queue and len(process.work) < IN_FLIGHT:
            process.give(self.queue.popleft())
        return process

    def _receive(self, process: WorkerProcess) -> UnitResult | None:
        """Receive a result, or notice the end of a worker."""
        try:
            kind, content = process.connection.recv()
        except (EOFError, OSError):
            self._replace(process)
            return None
        if kind == "failed":
            raise _unpack_error(content)
        if kind == "ready":
            process.ready, self.failed_starts = True, 0
            return None
        process.work.popleft()
        if self.queue:
            process.give(self.queue.popleft())
        result: UnitResult = content
        return result

    def _replace(self, process: WorkerProcess) -> None:
        """Give the work of a dead worker to a new one."""
        process.process.join()
        process.connection.close()
        self.processes.remove(process)
        work, code = list(process.work), process.process.exitcode
        if not process.ready:
            self.failed_starts += 1
            if self.failed_starts >= STARTS_MOST:
                raise TamisError(
                    f"{STARTS_MOST} workers ended (exit code {code}) before they had opened the menu: see their output; "
                    "a script that uses several workers must call run_menu under `if __name__ == '__main__':`"
                )
        elif work:
            unit, care = work[0]
            deaths = self.deaths[unit.number] = self.deaths.get(unit.number, 0) + 1
            cause = f"exit code {code}"
            work[0] = (
                unit,
                after_death(self.plan, self.out, unit, care, deaths, careful=deaths > 1, cause=cause),
            )
        self.queue.extendleft(reversed(work))
        if self.queue:
            self.processes.append(self._employed(process.again()))

    def stop(self) -> None:
        """End all processes."""
        for process in self.processes:
            process.end()
        parts.sweep(self.out)


def _serve(connection: Connection, pulse: Any) -> None:
    """Run a worker: receive the menu, the plan and units on the connection, and send results."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C, and ends its workers

    def units() -> Iterator[_Work | None]:
        holding = False
        while True:
            if holding and not connection.poll():
                holding = False
                yield None  # nothing to read ahead: finish the current unit
                continue
            try:
                work = connection.recv()
            except EOFError:  # the parent has ended
                return
            if work is None:
                return
            holding = True
            yield work

    try:
        environment, source, stages = connection.recv()
        os.environ.clear()
        os.environ.update(environment)
        plugged = {}
        for name, (module, place, reads, adds) in stages.items():
            found = reduce(getattr, place.split("."), importlib.import_module(module))
            plugged[name] = found if isinstance(found, UserStage) else UserStage(found, reads, adds)  # type: ignore[arg-type] # a function
        with compile_menu(source, plugged) as compiled:
            gc.freeze()  # so that garbage collection during an event does not traverse the loaded modules
            connection.send(("ready", None))
            plan, out = connection.recv()
            for result in run_here(plan, compiled, out, units(), pulse):
                connection.send(("done", result))
    except BrokenPipeError:
        os._exit(1)
    except EOFError:  # the parent has ended
        return
    except (TamisError, OSError) as error:
        with contextlib.suppress(OSError):
            connection.send(("failed", _pack_error(error)))


_Address = tuple[str, str, tuple[str, ...], tuple[str, ...]]


def _address(name: str, user: UserStage) -> _Address:
    """Return where a worker can import a stage, as functions cannot be pickled."""
    function = user.function
    if "<" in function.__qualname__:
        raise UsageError(
            f"the stage {name} is defined inside a function ({function.__qualname__}): "
            "move it to the top level of a module, where several workers can import it, or use one worker"
        )
    return function.__module__, function.__qualname__, user.reads, user.adds


def _pack_error(error: Exception) -> tuple[str, tuple[Any, ...]]:
    if isinstance(error, OSError):
        return "OSError", (error.errno, error.strerror, error.filename)
    return type(error).__name__, (str(error), getattr(error, "exit_code", 1))


def _unpack_error(packed: tuple[str, tuple[Any, ...]]) -> Exception:
    name, content = packed
    if name == "OSError":
        return OSError(*content)
    error = TamisError(content[0])
    error.exit_code = content[1]  # set on the instance
    return error
