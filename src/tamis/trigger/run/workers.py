"""Units done by processes of their own: one that dies or hangs costs time, never an event.

A unit whose worker died is done again. If it dies again, its events are decided one by one with a note of the one in
flight, so that the event that kills its process is found, and goes to the debug stream; all others are decided as usual.
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
from tamis.trigger.run.documents import Plan, Unit, UnitResult
from tamis.trigger.run.local import run_here
from tamis.trigger.run.worker import Care
from tamis.trigger.stages import UserStage

WORKERS_LOAD = (__name__, "tamis.events.root")
WORKERS_MAX = 1024
IN_FLIGHT = 2  # units per worker: one is read while the other is decided
RESTART_S = 0.1
STARTS_MOST = 5  # that fail one after the other
DEATHS_MOST = 50  # of one unit; more than that is no matter of single events
_Work = tuple[Unit, Care]


@contextlib.contextmanager
def worker_processes(
    workers: int, source: MenuSource, plugged: dict[str, UserStage]
) -> Iterator[list[WorkerProcess]]:
    """Start workers, which open their models while the run is still being planned; end those that are left over."""
    if not 1 <= workers <= WORKERS_MAX:
        raise UsageError(f"{workers} workers were asked for; it takes 1 to {WORKERS_MAX}")
    started: list[WorkerProcess] = []
    try:
        started.extend(WorkerProcess(source, plugged) for _ in range(workers))
        yield started
    finally:
        for process in started:
            process.end()


def run_in_processes(
    plan: Plan,
    out: Path,
    units: Sequence[Unit],
    started: list[WorkerProcess],
    stuck_s: float,
) -> Iterator[UnitResult]:
    """Do units on processes that were started; a worker that shows no sign of life for `stuck_s` is ended."""
    pool = _Pool(plan, out, units, started, stuck_s)
    try:
        yield from pool.run(min(len(started), max(1, len(units))))
    finally:
        pool.stop()


class WorkerProcess:
    """One worker and what it has to do."""

    def __init__(self, source: MenuSource, plugged: dict[str, UserStage]) -> None:
        """Start the process, and let it open the models of a menu."""
        self.menu = (source, plugged)
        stages = {name: _address(name, user) for name, user in plugged.items()}
        self.pulse = RawValue(c_int64, 0)
        self.connection, theirs = Pipe()
        self.process = _started(theirs, self.pulse)
        theirs.close()
        self.work: deque[_Work] = deque()
        self.seen, self.seen_ns = -1, now_ns()
        self.dismissed = self.ready = False
        self._send((dict(os.environ), source, stages))

    def employ(self, plan: Plan, out: Path) -> None:
        """Tell what the run is."""
        self._send((plan, out))
        self.seen_ns = now_ns()

    def again(self) -> WorkerProcess:
        """Start another one for the same menu."""
        return WorkerProcess(*self.menu)

    def end(self) -> None:
        """End it: at once where it has work or never had any, else when it has put away its things."""
        self.process.join(timeout=5.0 if self.dismissed else 0.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()

    def give(self, work: _Work | None) -> None:
        """Send a unit, or the word that there is none any more."""
        if work is not None:
            self.work.append(work)
        self.dismissed = work is None
        self._send(work)

    def _send(self, what: object) -> None:
        with contextlib.suppress(OSError):  # it is dead, which the next look at it tells
            self.connection.send(what)

    def is_stuck(self, stuck_s: float) -> bool:
        """Tell whether it has work and has not moved for a time."""
        pulse = self.pulse.value
        if pulse != self.seen or not self.work:
            self.seen, self.seen_ns = pulse, now_ns()
        return now_ns() - self.seen_ns > stuck_s * 1e9


def _started(connection: Connection, pulse: Any) -> BaseProcess:
    for attempt in range(STARTS_MOST):
        process = processes_with(WORKERS_LOAD).Process(target=_serve, args=(connection, pulse), daemon=True)
        try:
            process.start()
        except (EOFError, OSError) as error:  # what it is forked from has died meanwhile
            if attempt == STARTS_MOST - 1:
                raise TamisError(f"no worker can be started: {type(error).__name__}: {error}") from error
            time.sleep(RESTART_S)  # for the system to notice it, so that another one is started
        else:
            break
    return process


class _Pool:
    def __init__(
        self,
        plan: Plan,
        out: Path,
        units: Sequence[Unit],
        started: list[WorkerProcess],
        stuck_s: float,
    ) -> None:
        self.started = started
        self.plan, self.out, self.stuck_s = plan, out, stuck_s
        self.left: deque[_Work] = deque((unit, Care()) for unit in units)
        self.deaths: dict[int, int] = {}
        self.failed_starts = 0
        self.processes: list[WorkerProcess] = []

    def run(self, workers: int) -> Iterator[UnitResult]:
        with interruptible() as check:
            self.processes = [self._employed(self.started.pop()) for _ in range(workers)]
            while any(process.work for process in self.processes) or self.left:
                check()
                waited = {p.connection: p for p in self.processes}
                for connection in wait(list(waited), timeout=0.5):
                    process = waited[connection]  # type: ignore[index] # only connections are waited for
                    result = self._hear(process)
                    if result is not None:
                        yield result
                for process in self.processes:
                    if process.is_stuck(self.stuck_s):
                        process.process.kill()  # its end is heard at the next turn
            for process in self.processes:
                process.give(None)

    def _employed(self, process: WorkerProcess) -> WorkerProcess:
        process.employ(self.plan, self.out)
        while self.left and len(process.work) < IN_FLIGHT:
            process.give(self.left.popleft())
        return process

    def _hear(self, process: WorkerProcess) -> UnitResult | None:
        """Take a result, or note the end of a worker."""
        try:
            kind, content = process.connection.recv()
        except (EOFError, OSError):
            self._bury(process)
            return None
        if kind == "failed":
            raise _rebuilt(content)
        if kind == "ready":
            process.ready, self.failed_starts = True, 0
            return None
        process.work.popleft()
        if self.left:
            process.give(self.left.popleft())
        result: UnitResult = content
        return result

    def _bury(self, process: WorkerProcess) -> None:
        """Give the work of a dead worker to a new one; what it died of is looked for the second time."""
        process.process.join()
        process.connection.close()
        self.processes.remove(process)
        work, code = list(process.work), process.process.exitcode
        if not process.ready:
            self._count_failed_start(code)
        elif work:
            work[0] = self._suspect(*work[0], code)
        self.left.extendleft(reversed(work))
        if self.left:
            self.processes.append(self._employed(process.again()))

    def _count_failed_start(self, code: int | None) -> None:
        self.failed_starts += 1
        if self.failed_starts >= STARTS_MOST:
            raise TamisError(
                f"workers ended (exit code {code}) {STARTS_MOST} times before they had opened the menu; what they wrote says why; "
                "a script that runs a menu with several workers does so under `if __name__ == '__main__':`"
            )

    def _suspect(self, unit: Unit, care: Care, code: int | None) -> _Work:
        deaths = self.deaths[unit.number] = self.deaths.get(unit.number, 0) + 1
        if deaths > DEATHS_MOST:
            raise TamisError(
                f"the worker died {deaths} times (exit code {code}) on entries {unit.start} to {unit.stop} of "
                f"{self.plan.files[unit.file].url}: more than single events are wrong there; what is done stays, go on with --resume"
            )
        if not care.careful:
            return unit, Care(careful=deaths > 1)
        entry = parts.entry_in_flight(self.out, unit)
        return unit, Care(careful=True, deadly=care.deadly | ({entry} if entry is not None else set()))

    def stop(self) -> None:
        """End what still runs."""
        for process in self.processes:
            process.end()
        parts.sweep(self.out)


def _serve(connection: Connection, pulse: Any) -> None:
    """Be a worker: the menu, the run and its units come in by the connection, results go out by it."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers

    def units() -> Iterator[_Work | None]:
        holding = False
        while True:
            if holding and not connection.poll():
                holding = False
                yield None  # nothing to read ahead: what is in hand is to be done
                continue
            try:
                work = connection.recv()
            except EOFError:  # the parent is gone
                return
            if work is None:
                return
            holding = True
            yield work

    try:
        environment, source, stages = connection.recv()
        os.environ.clear()
        os.environ.update(environment)
        plugged = {name: _stage_at(*address) for name, address in stages.items()}
        with compile_menu(source, plugged) as compiled:
            gc.freeze()  # as it would be looked through for cycles in the midst of an event
            connection.send(("ready", None))
            plan, out = connection.recv()
            for result in run_here(plan, compiled, out, units(), pulse):
                connection.send(("done", result))
    except BrokenPipeError:
        os._exit(1)
    except EOFError:  # the parent is gone
        return
    except (TamisError, OSError) as error:
        with contextlib.suppress(OSError):
            connection.send(("failed", _packed(error)))


_Address = tuple[str, str, tuple[str, ...], tuple[str, ...]]


def _address(name: str, user: UserStage) -> _Address:
    """Return where a worker finds a stage; functions themselves cannot be sent."""
    function = user.function
    if "<" in function.__qualname__:
        raise UsageError(
            f"the stage {name} is made inside a function ({function.__qualname__}): "
            "several workers find it only at the top level of a module; put it there, or run one worker"
        )
    return function.__module__, function.__qualname__, user.reads, user.adds


def _stage_at(module: str, name: str, reads: tuple[str, ...], adds: tuple[str, ...]) -> UserStage:
    found = reduce(getattr, name.split("."), importlib.import_module(module))
    return found if isinstance(found, UserStage) else UserStage(found, reads, adds)  # type: ignore[arg-type] # it was one


def _packed(error: Exception) -> tuple[str, tuple[Any, ...]]:
    if isinstance(error, OSError):
        return "OSError", (error.errno, error.strerror, error.filename)
    return type(error).__name__, (str(error), getattr(error, "exit_code", 1))


def _rebuilt(packed: tuple[str, tuple[Any, ...]]) -> Exception:
    name, content = packed
    if name == "OSError":
        return OSError(*content)
    error = TamisError(content[0])
    error.exit_code = content[1]  # of this one error
    return error
