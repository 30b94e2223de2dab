"""Run a menu: plan it, process it unit by unit, check that it is complete, and join the files of its streams."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from tamis._base import (
    UsageError,
    now_ns,
    processes_with,
    progress,
    utc_timestamp,
)
from tamis.engines import Remote
from tamis.events import EventFile
from tamis.events.lumi_mask import LumiRanges
from tamis.trigger.decide import Laps, prepare_loop
from tamis.trigger.menu import CompiledMenu, MenuSource, compile_menu
from tamis.trigger.run import parts
from tamis.trigger.run.dask import dask_cluster
from tamis.trigger.run.documents import SERVERS, Mode, RunPlan, RunSummary, UnitResult
from tamis.trigger.run.finish import SUMMARY, finish, read_summary
from tamis.trigger.run.local import run_here
from tamis.trigger.run.monitored import MonitoredFolder, check_monitored
from tamis.trigger.run.planning import check_same, make_plan, read_plan, write_plan
from tamis.trigger.run.times import TIME_PLANNING, TIME_STARTING
from tamis.trigger.run.worker import Care
from tamis.trigger.run.workers import WORKERS_LOAD, WorkerProcess, run_in_processes, worker_processes
from tamis.trigger.stages import UserStage

LOCK = ".lock"
STUCK_S = 300.0


def run_menu(
    source: MenuSource,
    files: Sequence[str | Path],
    out: str | Path,
    *,
    mode: Mode = "batch",
    workers: int = 1,
    scheduler: str | None = None,
    resume: bool = False,
    tree: str | None = None,
    unit_events: int | None = None,
    lumi_mask: LumiRanges | None = None,
    monitor: str | Path | None = None,
    plugged: dict[str, UserStage] | None = None,
    stuck_s: float = STUCK_S,
    since_ns: int | None = None,
    remote: Remote | None = None,
) -> RunSummary:
    """Run a menu over files of events and write its output to a folder.

    `lumi_mask` are the good luminosity blocks by run; events of others are only counted. `monitor` is a folder that gets a row per event
    for `tamis monitor`. `plugged` are additional stages; with
    `remote`, the bundles of stages that name no engine run on servers. `stuck_s` is the time without a heartbeat after which a
    worker is replaced; `since_ns` is the start of the run, if it was before this call.
    """
    source = replace(source, remote=remote or source.remote)
    begin = now_ns() if since_ns is None else since_ns
    out = Path(out)
    created = utc_timestamp()
    laps = Laps()
    here = workers == 1 and scheduler is None
    with _locked(out), ExitStack() as stack:
        separate = not here and scheduler is None
        if separate:
            processes_with(WORKERS_LOAD)  # they load while this process does
        compiled = stack.enter_context(compile_menu(source, plugged))
        started = stack.enter_context(worker_processes(workers, source, plugged or {})) if separate else []
        if here and mode == "event":
            prepare_loop()
        laps.add(TIME_STARTING, now_ns() - begin, 0)
        finished = _finished(out, resume)
        start = now_ns()
        held: dict[int, EventFile] = {}
        stack.callback(_close, held)
        plan = _planned(
            compiled,
            files,
            out,
            mode=mode,
            resume=resume,
            tree=tree,
            unit_events=unit_events,
            lumi_mask=lumi_mask,
            monitor=None if monitor is None else Path(monitor).absolute(),
            held=held,
        )
        laps.add(TIME_PLANNING, now_ns() - start, 0)
        if finished is not None:
            return finished
        workers = _work(plan, compiled, out, started, plugged, stuck_s, scheduler, held)
        return finish(plan, compiled, out, laps, created=created, begin_ns=begin, workers=workers, held=held)


def _close(held: dict[int, EventFile]) -> None:
    for file in held.values():
        file.close()


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Lock a folder for one run at a time; the lock of a killed run is released by the system."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"cannot write to {out}: it is a file") from error
    with (out / LOCK).open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another run is writing to {out}: wait for it, or write to another folder"
            ) from error
        yield


def _finished(out: Path, resume: bool) -> RunSummary | None:
    path = out / SUMMARY
    if not path.is_file():
        return None
    if not resume:
        raise UsageError(f"{out} holds a finished run: write to another folder, or remove this one")
    shutil.rmtree(out / parts.UNITS, ignore_errors=True)
    return read_summary(out)


def _planned(
    compiled: CompiledMenu,
    files: Sequence[str | Path],
    out: Path,
    *,
    mode: Mode,
    resume: bool,
    tree: str | None,
    unit_events: int | None,
    lumi_mask: LumiRanges | None,
    monitor: Path | None,
    held: dict[int, EventFile],
) -> RunPlan:
    old = read_plan(out)
    if old is not None and not resume:
        raise UsageError(f"{out} holds an unfinished run: continue with --resume, or write to another folder")
    new = make_plan(
        compiled,
        files,
        mode=mode,
        tree=tree,
        unit_events=old.unit_events if old is not None else unit_events,
        lumi_mask=lumi_mask,
        held=held,
    )
    if old is None:
        if monitor is not None:
            check_monitored(monitor, out)
            new = new.model_copy(update={"monitor": str(monitor)})
        write_plan(out, new)
        return new
    check_same(old, new, out)
    if monitor is not None and str(monitor) != old.monitor:
        raise UsageError(
            f"{out} was started with {f'--monitor {old.monitor}' if old.monitor else 'no --monitor'}: resume it in the same way"
        )
    old = old.model_copy(update={name: getattr(new, name) for name in SERVERS})
    write_plan(out, old)  # a resumed run may use other servers
    return old


def _work(
    plan: RunPlan,
    compiled: CompiledMenu,
    out: Path,
    started: list[WorkerProcess],
    plugged: dict[str, UserStage] | None,
    stuck_s: float,
    scheduler: str | None,
    held: dict[int, EventFile],
) -> int:
    """Process the remaining units; return the number of workers."""
    parts.sweep(out)
    done = parts.committed(out)
    units = list(plan.units())
    remaining = [unit for unit in units if unit.number not in done]
    total = sum(unit.stop - unit.start for unit in units)
    workers = max(1, len(started))
    watched = None if plan.monitor is None else MonitoredFolder(plan, out)
    if watched is not None:
        for number in sorted(done):
            watched.add(number)
    with progress("deciding", total, "events") as advance, ExitStack() as stack:
        advance(total - sum(unit.stop - unit.start for unit in remaining))
        results: Iterator[UnitResult]
        if not remaining:
            results = iter(())
        elif scheduler is not None:
            cluster = stack.enter_context(dask_cluster(plan, out, scheduler, plugged or {}))
            results, workers = cluster.run(remaining), cluster.threads
        elif started:
            results = run_in_processes(plan, out, remaining, started, stuck_s)
        else:
            results = run_here(plan, compiled, out, ((unit, Care()) for unit in remaining), held=held)
        for result in results:
            advance(result.counts.entered)
            if watched is not None:
                watched.add(result.unit.number)
    return workers


def process_start_ns() -> int:
    """Return the start of this process on the clock of `now_ns`."""
    try:  # ticks since boot; psutil adds them to a boot time that is rounded to seconds
        started_ticks = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - int(started_ticks) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        age_s = time.time() - psutil.Process().create_time()
    return now_ns() - round(age_s * 1e9)
