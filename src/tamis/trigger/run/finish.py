"""Finish a run: check that all units are complete, join them into the files of streams, and write the summary."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import tamis
from tamis._base import (
    DataError,
    UsageError,
    atomic_path,
    host_facts,
    library_versions,
    now_ns,
    parse_document,
    progress,
    write_text,
)
from tamis.events import EventFile
from tamis.events.arrow import numbers_of_array
from tamis.events.lumi_mask import lumi_ranges
from tamis.trigger.decide import Laps
from tamis.trigger.menu import CompiledMenu
from tamis.trigger.run import parts
from tamis.trigger.run.counters import counters_of
from tamis.trigger.run.documents import (
    HistogramSum,
    PartNotes,
    RunPlan,
    RunSummary,
    UnitResult,
    most_frequent,
)
from tamis.trigger.run.kept import no_events
from tamis.trigger.run.merge import Joined, check_complete, merge_decisions, merge_stream, provenance
from tamis.trigger.run.side_trees import read_side_trees
from tamis.trigger.run.times import TIME_MERGING, merged, summed

SUMMARY, HISTOGRAMS, LUMIS = "run.json", "histograms.root", "lumis.json"


def finish(
    plan: RunPlan,
    compiled: CompiledMenu,
    out: Path,
    laps: Laps,
    *,
    created: str,
    begin_ns: int,
    workers: int,
    held: Mapping[int, EventFile],
) -> RunSummary:
    """Check that no event is missing, write the files and the summary of the run, and then remove the units.

    `held` are open input files.
    """
    start = now_ns()
    done = parts.committed(out)
    results = {number: parts.read_result(folder) for number, folder in done.items()}
    counts = check_complete(plan, done, results)
    ordered = [results[n] for n in sorted(results)]
    side = read_side_trees([file.url for file in plan.files if not file.problem], besides=plan.tree)
    outputs = _join(plan, compiled, out, [done[n] for n in sorted(done)], ordered, held, side.tables)
    write_text(out / LUMIS, json.dumps(lumi_ranges(*_blocks(out / parts.DECISIONS))) + "\n")
    histograms = _histograms(ordered, compiled)
    if histograms:
        _write_histograms(out / HISTOGRAMS, histograms)
    laps.add(TIME_MERGING, now_ns() - start, 0)
    labels = dict.fromkeys(label for result in ordered for label in result.times)
    times = {label: merged([r.times[label] for r in ordered if label in r.times]) for label in labels}
    summary = RunSummary(
        tamis=tamis.__version__,
        menu=compiled.menu.menu,
        mode=plan.mode,
        created=created,
        host=host_facts(),
        versions=library_versions(),
        models=_models(compiled),
        workers=workers,
        wall_ns=now_ns() - begin_ns,
        counts=counts,
        files=plan.files,
        unreadable=tuple(entry for result in ordered for entry in result.unreadable),
        times={**summed(laps), **times},
        kinds={op.label: op.stage.kind if op.stage else "filter" for op in compiled.program.operations},
        histograms=histograms,
        outputs={name: joined.path.name for name, joined in outputs.items()},
        side_trees={name: len(table) for name, table in side.tables.items()},
        side_tree_problems=tuple(side.problems),
        left_out=tuple(
            f"{joined.path.name}: {', '.join(joined.left_out)}"
            for joined in outputs.values()
            if joined.left_out
        ),
        made_up=tuple(sorted({part for result in ordered for part in result.made_up})),
        messages=most_frequent(sum((Counter(result.messages) for result in ordered), Counter())),
    )
    write_text(out / SUMMARY, summary.model_dump_json(indent=1) + "\n")
    shutil.rmtree(out / parts.UNITS, ignore_errors=True)
    return summary


def read_summary(out: Path) -> RunSummary:
    """Read the summary of a finished run."""
    path = out / SUMMARY
    if not path.is_file():
        raise UsageError(f"{out} holds no finished run: {SUMMARY} is missing")
    return parse_document(path.read_text(encoding="utf-8"), RunSummary, str(path))


def _join(
    plan: RunPlan,
    compiled: CompiledMenu,
    out: Path,
    folders: Sequence[Path],
    ordered: Sequence[UnitResult],
    held: Mapping[int, EventFile],
    side_trees: Mapping[str, pa.Table],
) -> dict[str, Joined]:
    """Write the files of the run."""
    facts = provenance(plan, _models(compiled), library_versions())
    counters = counters_of(compiled)
    decided = sum(r.counts.accepted + r.counts.rejected + r.counts.debug for r in ordered)
    merge_decisions(out / parts.DECISIONS, folders, decided, compiled.program.paths)
    outputs = {"decisions": Joined(out / parts.DECISIONS)}
    formats = {name: spec.format for name, spec in compiled.menu.streams.items()} | {parts.DEBUG: "root"}
    expected = {name: sum(r.counts.streams.get(name, 0) for r in ordered) for name in formats}
    with progress("joining streams", sum(expected.values()), "events") as advance:
        for name, suffix in formats.items():
            files = [f for folder in folders if (f := folder / parts.stream_file(name)).is_file()]
            if not files and name != parts.DEBUG:
                files = _empty_part(plan, compiled, out, name, held)
            if files:
                spec = compiled.menu.streams.get(name)
                written = merge_stream(
                    out / f"{name}.{suffix}",
                    files,
                    expected[name],
                    facts,
                    counters,
                    advance,
                    side_trees=side_trees,
                    compression=spec.compression if spec is not None else None,
                )
                outputs.update({joined.path.stem: joined for joined in written})
    return outputs


def _blocks(decisions: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the run and the luminosity block of every decided event."""
    with pq.ParquetFile(decisions) as file:
        table = file.read(["run", "luminosityBlock"])
    return numbers_of_array(table["run"]), numbers_of_array(table["luminosityBlock"])


def _empty_part(
    plan: RunPlan, compiled: CompiledMenu, out: Path, stream: str, held: Mapping[int, EventFile]
) -> list[Path]:
    """Write a part without events for a stream that took none, so that its file has the columns."""
    index = next(i for i, file in enumerate(plan.files) if not file.problem)
    part = out / parts.UNITS / parts.stream_file(stream)
    try:
        open_now = (
            nullcontext(held[index])
            if index in held
            else EventFile(plan.files[index].url, plan.tree, index, plan.aliases)
        )
        with open_now as file:
            table, left_out = no_events(compiled, file, stream)
    except DataError:  # the file was readable when the run was planned, and is not any more
        return []
    part.parent.mkdir(parents=True, exist_ok=True)
    parts.write_part(part, table, PartNotes(left_out=left_out))
    return [part]


def _models(compiled: CompiledMenu) -> dict[str, dict[str, str]]:
    return {stage.name: dict(stage.facts) for stage in compiled.stages.values() if stage.facts}


def _histograms(results: Sequence[UnitResult], compiled: CompiledMenu) -> dict[str, HistogramSum]:
    sums = {}
    for name, spec in compiled.menu.histograms.items():
        filled = [result.histograms[name] for result in results if name in result.histograms]
        below, *counts, above = (
            (sum(column) for column in zip(*filled, strict=True)) if filled else (0,) * (spec.bins + 2)
        )
        sums[name] = HistogramSum(
            low=spec.low,
            high=spec.high,
            below=below,
            counts=tuple(counts),
            above=above,
            title=spec.title,
        )
    return sums


def _write_histograms(target: Path, filled: dict[str, HistogramSum]) -> None:
    """Write histograms as TH1D, which ROOT, uproot and hist read."""
    import uproot

    with atomic_path(target) as part, uproot.recreate(part) as file:
        for name, histogram in filled.items():
            file[name] = (
                np.array(histogram.counts, np.float64),
                np.linspace(histogram.low, histogram.high, len(histogram.counts) + 1),
            )
