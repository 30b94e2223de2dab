"""The run: planned, done unit by unit, proven complete, and joined into the files of its streams."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil

import quickbeam
from quickbeam._base import (
    UsageError,
    atomic_path,
    host_facts,
    library_versions,
    now_ns,
    parse_document,
    progress,
    utc_timestamp,
    write_text,
)
from quickbeam.events import EventFile
from quickbeam.trigger.decide import Laps
from quickbeam.trigger.menu import Compiled, MenuSource, compile_menu
from quickbeam.trigger.run import parts
from quickbeam.trigger.run.dask import run_on_dask
from quickbeam.trigger.run.documents import HistogramSum, Mode, Plan, RunSummary, UnitResult
from quickbeam.trigger.run.local import run_here
from quickbeam.trigger.run.merge import check_complete, merge_decisions, merge_stream, provenance
from quickbeam.trigger.run.planning import check_same, make_plan, read_plan, write_plan
from quickbeam.trigger.run.times import MERGING, PLANNING, STARTING, merged, summed
from quickbeam.trigger.run.worker import Care
from quickbeam.trigger.run.workers import run_in_processes
from quickbeam.trigger.stages import UserStage

SUMMARY, LOCK, HISTOGRAMS = "run.json", ".lock", "histograms.root"
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
    plugged: dict[str, UserStage] | None = None,
    stuck_s: float = STUCK_S,
    since_ns: int | None = None,
) -> RunSummary:
    """Run a menu over files of events; `since_ns` (of the clock) is when the work began, where that was before this call."""
    begin = now_ns() if since_ns is None else since_ns
    out = Path(out)
    created = utc_timestamp()
    laps = Laps()
    with _locked(out), compile_menu(source, plugged) as compiled:
        laps.add(STARTING, now_ns() - begin, 0)
        finished = _finished(out, resume)
        start = now_ns()
        here = workers == 1 and scheduler is None
        held: dict[int, EventFile] = {}
        plan = _planned(
            compiled,
            files,
            out,
            mode=mode,
            resume=resume,
            tree=tree,
            unit_events=unit_events,
            held=held if here else None,
        )
        laps.add(PLANNING, now_ns() - start, 0)
        if finished is not None:
            return finished
        _work(plan, compiled, out, workers, plugged, stuck_s, scheduler, held)
        start = now_ns()
        done = parts.committed(out)
        results = {number: parts.read_result(folder) for number, folder in done.items()}
        counts = check_complete(plan, done, results)
        outputs = _join(plan, compiled, out, [done[n] for n in sorted(done)], results)
        laps.add(MERGING, now_ns() - start, 0)
        ordered = [results[n] for n in sorted(results)]
        summary = RunSummary(
            quickbeam=quickbeam.__version__,
            menu=source.menu.menu,
            mode=mode,
            created=created,
            host=host_facts(),
            versions=library_versions(),
            models=_models(compiled),
            workers=workers,
            wall_ns=now_ns() - begin,
            counts=counts,
            files=plan.files,
            unreadable=tuple(entry for result in ordered for entry in result.unreadable),
            times=_times(ordered, laps),
            kinds={op.label: op.stage.kind if op.stage else "filter" for op in compiled.program.operations},
            histograms=_histograms(ordered, compiled),
            outputs=outputs,
            made_up=tuple(sorted({part for result in ordered for part in result.made_up})),
        )
        if summary.histograms:
            _write_histograms(out / HISTOGRAMS, summary.histograms)
        write_text(out / SUMMARY, summary.model_dump_json(indent=1) + "\n")
        shutil.rmtree(out / parts.UNITS, ignore_errors=True)
        return summary


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Let one run at a time write here; the lock of a killed one is gone with it."""
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
        raise UsageError(f"{out} holds a finished run: write to another folder, or remove it")
    shutil.rmtree(out / parts.UNITS, ignore_errors=True)
    return read_summary(out)


def read_summary(out: Path) -> RunSummary:
    """Read what a finished run says of itself."""
    path = out / SUMMARY
    if not path.is_file():
        raise UsageError(f"{out} holds no finished run: there is no {SUMMARY}")
    return parse_document(path.read_text(encoding="utf-8"), RunSummary, str(path))


def _planned(
    compiled: Compiled,
    files: Sequence[str | Path],
    out: Path,
    *,
    mode: Mode,
    resume: bool,
    tree: str | None,
    unit_events: int | None,
    held: dict[int, EventFile] | None,
) -> Plan:
    old = read_plan(out)
    if old is not None and not resume:
        raise UsageError(
            f"{out} holds a run that did not end: go on with --resume, or write to another folder"
        )
    new = make_plan(
        compiled,
        files,
        mode=mode,
        tree=tree,
        unit_events=old.unit_events if old is not None else unit_events,
        held=held,
    )
    if old is None:
        write_plan(out, new)
        return new
    check_same(old, new, out)
    return old


def _work(
    plan: Plan,
    compiled: Compiled,
    out: Path,
    workers: int,
    plugged: dict[str, UserStage] | None,
    stuck_s: float,
    scheduler: str | None,
    held: dict[int, EventFile],
) -> None:
    parts.sweep(out)
    done = parts.committed(out)
    units = list(plan.units())
    left = [unit for unit in units if unit.number not in done]
    total = sum(unit.stop - unit.start for unit in units)
    with progress("deciding", total, "events") as advance:
        advance(total - sum(unit.stop - unit.start for unit in left))
        results: Iterator[UnitResult]
        if scheduler is not None:
            results = run_on_dask(plan, out, left, scheduler, plugged or {})
        elif workers > 1:
            results = run_in_processes(plan, out, left, workers, plugged or {}, stuck_s)
        else:
            results = run_here(plan, compiled, out, ((unit, Care()) for unit in left), held=held)
        for result in results:
            advance(result.counts.entered)


def _join(
    plan: Plan, compiled: Compiled, out: Path, folders: Sequence[Path], results: dict[int, UnitResult]
) -> dict[str, str]:
    """Write the files of the run."""
    ordered = [results[n] for n in sorted(results)]
    facts = provenance(plan, _models(compiled), library_versions())
    decided = sum(r.counts.accepted + r.counts.rejected + r.counts.debug for r in ordered)
    merge_decisions(out / parts.DECISIONS, folders, decided)
    outputs = {"decisions": parts.DECISIONS}
    formats = {name: spec.format for name, spec in compiled.menu.streams.items()} | {parts.DEBUG: "root"}
    expected = {name: sum(r.counts.streams.get(name, 0) for r in ordered) for name in formats}
    with progress("joining streams", sum(expected.values()), "events") as advance:
        for name, suffix in formats.items():
            files = [f for folder in folders if (f := folder / parts.stream_file(name)).is_file()]
            if files:
                made = merge_stream(out / f"{name}.{suffix}", files, expected[name], facts, advance)
                outputs.update({path.stem: path.name for path in made})
    return outputs


def _models(compiled: Compiled) -> dict[str, dict[str, str]]:
    return {stage.name: dict(stage.facts) for stage in compiled.stages.values() if stage.facts}


def _times(results: Sequence[UnitResult], laps: Laps) -> dict:  # type: ignore[type-arg]
    labels = dict.fromkeys(label for result in results for label in result.times)
    times = {label: merged([r.times[label] for r in results if label in r.times]) for label in labels}
    return {**summed(laps), **times}


def _histograms(results: Sequence[UnitResult], compiled: Compiled) -> dict[str, HistogramSum]:
    made = {}
    for name, spec in compiled.menu.histograms.items():
        filled = [result.histograms[name] for result in results if name in result.histograms]
        below, *counts, above = (
            (sum(column) for column in zip(*filled, strict=True)) if filled else (0,) * (spec.bins + 2)
        )
        made[name] = HistogramSum(
            low=spec.low, high=spec.high, below=below, counts=tuple(counts), above=above
        )
    return made


def _write_histograms(target: Path, filled: dict[str, HistogramSum]) -> None:
    """Write histograms as ROOT's TH1D, which PyROOT, uproot and hist read."""
    import uproot

    with atomic_path(target) as part, uproot.recreate(part) as file:
        for name, one in filled.items():
            file[name] = (
                np.array(one.counts, np.float64),
                np.linspace(one.low, one.high, len(one.counts) + 1),
            )


def process_start_ns() -> int:
    """Return when this process began, on the clock that times are taken with."""
    age_s = time.time() - psutil.Process().create_time()
    return now_ns() - round(age_s * 1e9)
