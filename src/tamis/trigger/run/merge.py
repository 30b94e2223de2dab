"""From the folders of all units to the files of a run, and the proof that no event is missing or there twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tamis._base import ConservationError, atomic_path
from tamis.events import open_writer
from tamis.events.arrow import columns_of_schema
from tamis.trigger.run import parts
from tamis.trigger.run.columns import filled, groups_of
from tamis.trigger.run.counters import own_counters
from tamis.trigger.run.documents import Counts, Plan, Unit, UnitResult
from tamis.trigger.run.kept import not_for_trees


def check_complete(plan: Plan, done: Mapping[int, Path], results: Mapping[int, UnitResult]) -> Counts:
    """Prove that every planned unit was done as planned, and that in each all events left through one door."""
    total = Counts()
    for unit in plan.units():
        if unit.number not in done:
            raise ConservationError(f"the unit {unit.name} ({_told(plan, unit)}) is missing")
        result = results[unit.number]
        if result.unit != unit:
            raise ConservationError(
                f"the unit {unit.name} holds {_told(plan, result.unit)}, not {_told(plan, unit)}"
            )
        if result.counts.entered != unit.stop - unit.start or not result.counts.balanced:
            raise ConservationError(f"the counts of {_told(plan, unit)} do not balance: {result.counts}")
        total = total.plus(result.counts)
    if len(done) != sum(1 for _ in plan.units()):
        raise ConservationError("there are more units than were planned")
    return total


def _told(plan: Plan, unit: Unit) -> str:
    return f"entries {unit.start} to {unit.stop} of {plan.files[unit.file].url}"


def merge_decisions(target: Path, folders: Sequence[Path], expected: int) -> None:
    """Join the decisions on all events that could be read, in the order of the input."""
    rows = 0
    with atomic_path(target) as part:
        writer: pq.ParquetWriter | None = None
        pending: list[pa.Table] = []
        for folder in folders:
            table = parts.read_part(folder / parts.DECIDED)
            rows += table.num_rows
            writer = writer or pq.ParquetWriter(part, table.schema, **parts.COMPACT)
            pending.append(table)
            if sum(t.num_rows for t in pending) >= 100_000:
                writer.write_table(pa.concat_tables(pending))
                pending = []
        if writer is not None:
            if pending:
                writer.write_table(pa.concat_tables(pending))
            writer.close()
        else:
            pq.write_table(pa.table({"run": pa.array([], pa.int64())}), part)
    if rows != expected:
        raise ConservationError(f"{target} would hold {rows} decisions, but {expected} events were decided")


@dataclass(frozen=True)
class Joined:
    """A file of a stream, and the columns of the input that its format cannot hold."""

    path: Path
    left_out: tuple[str, ...] = ()


def merge_stream(
    target: Path,
    files: Sequence[Path],
    expected: int,
    facts: Mapping[str, str],
    counters: Mapping[str, str],
    advance: Callable[[int], None],
) -> list[Joined]:
    """Join the parts of a stream; files whose events have other columns of their own go into a file of their own."""
    written = 0
    outputs: list[Joined] = []
    for number, group in enumerate(groups_of(files), 1):
        if target.suffix == ".root":  # of some columns it shows late that values are missing
            group = group.without(not_for_trees(columns_of_schema(group.schema)))  # noqa: PLW2901 - the same, narrower
        output = target if number == 1 else target.with_name(f"{target.stem}-{number}{target.suffix}")
        named = own_counters(group.schema, counters, group.notes.alone)
        with open_writer(output, facts=facts, counters=named) as writer:
            for path in group.parts:
                table = parts.read_part(path)
                writer.write_table(filled(table, group.schema))
                written += len(table)
                advance(len(table))
        outputs.append(Joined(output, group.notes.left_out))
    if written != expected:
        raise ConservationError(f"{target} holds {written} events, but its stream took {expected}")
    return outputs


def provenance(
    plan: Plan, models: Mapping[str, Mapping[str, str]], versions: Mapping[str, str]
) -> dict[str, str]:
    """Return what is written into every file of a run."""
    return {
        "tamis.menu": plan.menu,
        "tamis.models": json.dumps(models, sort_keys=True),
        "tamis.versions": json.dumps(versions, sort_keys=True),
        "tamis.mode": plan.mode,
    }
