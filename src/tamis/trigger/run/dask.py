"""Units done by the workers of a Dask cluster, on any number of machines that share a file system."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from itertools import islice
from pathlib import Path
from typing import Any

from tamis._base import DataError, TamisError, UsageError, interruptible, require
from tamis.trigger.menu import compile_menu
from tamis.trigger.run import parts
from tamis.trigger.run.documents import Plan, Unit, UnitResult
from tamis.trigger.run.planning import menu_of_plan, read_plan
from tamis.trigger.run.worker import Care, Worker
from tamis.trigger.stages import UserStage

CONNECT_S = 10
AHEAD = 3  # units per thread that wait at a worker, so that none runs dry
DEATHS_MOST = 20  # of one unit, each of them several workers' as the cluster's own settings have it

_workers = threading.local()


@contextlib.contextmanager
def dask_cluster(plan: Plan, out: Path, scheduler: str, plugged: dict[str, UserStage]) -> Iterator[Cluster]:
    """Yield a cluster that does units; a worker that dies is replaced by it, and its units are done again."""
    distributed = require("distributed", extra="dask", purpose="running on a Dask cluster")
    try:
        client = distributed.Client(scheduler, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise UsageError(f"no Dask scheduler answers at {scheduler}: {error}") from error
    with client:
        yield Cluster(client, distributed, plan, out.resolve(), plugged)


class Cluster:
    """The workers that a scheduler has; `threads` is how many units they do at a time."""

    def __init__(
        self, client: Any, distributed: Any, plan: Plan, out: Path, plugged: dict[str, UserStage]
    ) -> None:
        """Ask the scheduler for its workers."""
        self.client, self.distributed, self.plan, self.out = client, distributed, plan, out
        self.threads = sum(client.nthreads().values())
        if not self.threads:
            raise UsageError("the Dask scheduler has no workers: start some with `dask worker`")
        self.ahead = AHEAD * self.threads
        self.job = (str(out), hashlib.sha256(plan.model_dump_json().encode()).hexdigest(), plugged)
        self.deaths: dict[int, int] = {}

    def run(self, units: Sequence[Unit]) -> Iterator[UnitResult]:
        """Do units, in any order."""
        left = iter(units)
        done = self.distributed.as_completed()
        work: dict[Any, tuple[Unit, Care]] = {}

        def submit(unit: Unit, care: Care) -> None:
            future = self.client.submit(_task, self.job, unit, care, pure=False)
            work[future] = (unit, care)
            done.add(future)

        with interruptible() as check:
            for unit in islice(left, self.ahead):
                submit(unit, Care())
            for future in done:
                check()
                unit, care = work.pop(future)
                result = self._result(future, unit)
                if result is None:
                    submit(unit, self._careful(unit, care))
                    continue
                for following in islice(left, 1):
                    submit(following, Care())
                yield result

    def _result(self, future: Any, unit: Unit) -> UnitResult | None:
        """Return what a task gave, or None where its workers died."""
        try:
            result: UnitResult = future.result()
        except (self.distributed.KilledWorker, CancelledError):
            return None
        if not (self.out / parts.UNITS / unit.name / parts.RESULT).is_file():
            raise DataError(
                f"a worker of the cluster has decided the unit {unit.name}, but it is not in {self.out}: "
                "the workers have to share this folder, under the same path"
            )
        return result

    def _careful(self, unit: Unit, care: Care) -> Care:
        deaths = self.deaths[unit.number] = self.deaths.get(unit.number, 0) + 1
        if deaths > DEATHS_MOST:
            raise TamisError(
                f"workers died again and again on entries {unit.start} to {unit.stop} of {self.plan.files[unit.file].url}: "
                "what is done stays, go on with --resume"
            )
        if not care.careful:
            return Care(careful=True)
        entry = parts.entry_in_flight(self.out, unit)
        return Care(careful=True, deadly=care.deadly | ({entry} if entry is not None else set()))


def _task(job: tuple[str, str, dict[str, UserStage]], unit: Unit, care: Care) -> UnitResult:
    """Do a unit in a thread of a worker, which keeps its models open from one unit to the next."""
    out, digest, plugged = job
    if getattr(_workers, "key", None) != (out, digest):
        with contextlib.suppress(AttributeError):
            _workers.worker.close()
            _workers.worker.compiled.close()
        plan = read_plan(Path(out))
        if plan is None or hashlib.sha256(plan.model_dump_json().encode()).hexdigest() != digest:
            raise DataError(
                f"this worker sees no plan of the run in {out}, or another one: workers have to share the folder, under the same path"
            )
        _workers.worker = Worker(plan, compile_menu(menu_of_plan(plan), plugged), Path(out))
        _workers.key = (out, digest)
    worker: Worker = _workers.worker
    return worker.work(worker.read(unit), care)
