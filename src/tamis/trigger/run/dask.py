"""Process units on the workers of a Dask cluster, on any number of machines that share a file system."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from itertools import islice
from pathlib import Path
from typing import Any

from tamis._base import DataError, UsageError, interruptible, require
from tamis.trigger.menu import compile_menu
from tamis.trigger.run import parts
from tamis.trigger.run.documents import RunPlan, RunUnit, UnitResult
from tamis.trigger.run.planning import menu_of_plan, read_plan
from tamis.trigger.run.worker import Care, Worker, after_death
from tamis.trigger.stages import UserStage

DASK_CONNECT_S = 10
AHEAD = 3  # submitted units per thread, so that no worker runs idle

_workers = threading.local()


@contextlib.contextmanager
def dask_cluster(
    plan: RunPlan, out: Path, scheduler: str, plugged: dict[str, UserStage]
) -> Iterator[Cluster]:
    """Yield a cluster that processes units; the units of a worker that dies are processed again."""
    distributed = require("distributed", extra="dask", purpose="running on a Dask cluster")
    try:
        client = distributed.Client(scheduler, timeout=DASK_CONNECT_S)
    except (OSError, ValueError) as error:
        raise UsageError(f"no Dask scheduler answers at {scheduler}: {error}") from error
    with client:
        yield Cluster(client, distributed, plan, out.resolve(), plugged)


class Cluster:
    """The workers of a scheduler; `threads` is the number of units that they process at a time."""

    def __init__(
        self, client: Any, distributed: Any, plan: RunPlan, out: Path, plugged: dict[str, UserStage]
    ) -> None:
        """Query the scheduler for its workers."""
        self.client, self.distributed, self.plan, self.out = client, distributed, plan, out
        self.threads = sum(client.nthreads().values())
        if not self.threads:
            raise UsageError("the Dask scheduler has no workers: start some with `dask worker`")
        self.ahead = AHEAD * self.threads
        self.job = (str(out), hashlib.sha256(plan.model_dump_json().encode()).hexdigest(), plugged)
        self.deaths: dict[int, int] = {}

    def run(self, units: Sequence[RunUnit]) -> Iterator[UnitResult]:
        """Process units; results come in any order."""
        remaining = iter(units)
        done = self.distributed.as_completed()
        work: dict[Any, tuple[RunUnit, Care]] = {}

        def submit(unit: RunUnit, care: Care) -> None:
            future = self.client.submit(_task, self.job, unit, care, pure=False)
            work[future] = (unit, care)
            done.add(future)

        with interruptible() as check:
            for unit in islice(remaining, self.ahead):
                submit(unit, Care())
            for future in done:
                check()
                unit, care = work.pop(future)
                result = self._result(future, unit)
                if result is None:
                    self.deaths[unit.number] = self.deaths.get(unit.number, 0) + 1
                    # Dask reports a death after several workers died of the unit
                    submit(
                        unit,
                        after_death(self.plan, self.out, unit, care, self.deaths[unit.number], careful=True),
                    )
                    continue
                for following in islice(remaining, 1):
                    submit(following, Care())
                yield result

    def _result(self, future: Any, unit: RunUnit) -> UnitResult | None:
        """Return the result of a task, or None if its workers died."""
        try:
            result: UnitResult = future.result()
        except (self.distributed.KilledWorker, CancelledError):
            return None
        if not (self.out / parts.UNITS / unit.name / parts.RESULT).is_file():
            raise DataError(
                f"a worker of the cluster has processed the unit {unit.name}, but it is not in {self.out}: "
                "the workers must share this folder, under the same path"
            )
        return result


def _task(job: tuple[str, str, dict[str, UserStage]], unit: RunUnit, care: Care) -> UnitResult:
    """Process a unit in a thread of a worker, which keeps its models open between units."""
    out, digest, plugged = job
    if getattr(_workers, "key", None) != (out, digest):
        with contextlib.suppress(AttributeError):
            _workers.worker.close()
            _workers.worker.compiled.close()
        plan = read_plan(Path(out))
        if plan is None or hashlib.sha256(plan.model_dump_json().encode()).hexdigest() != digest:
            raise DataError(
                f"this worker finds no plan of the run in {out}, or another plan: workers must share the folder, under the same path"
            )
        _workers.worker = Worker(plan, compile_menu(menu_of_plan(plan), plugged), Path(out))
        _workers.key = (out, digest)
    worker: Worker = _workers.worker
    return worker.work(worker.read(unit), care)
