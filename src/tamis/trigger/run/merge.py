"""Join the folders of all units into the files of a run, and check that no event is missing or duplicated."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
import pyarrow.parquet as pq

from tamis._base import ConservationError, atomic_path
from tamis.events import open_writer
from tamis.events.arrow import array_of_words, columns_of_schema
from tamis.trigger.decide import Outcome, Reason
from tamis.trigger.run import parts
from tamis.trigger.run.counters import counters_in_file
from tamis.trigger.run.documents import Counts, RunPlan, RunUnit, UnitResult
from tamis.trigger.run.kept import not_for_trees
from tamis.trigger.run.schemas import filled, groups_of, with_nulls


def check_complete(plan: RunPlan, done: Mapping[int, Path], results: Mapping[int, UnitResult]) -> Counts:
    """Check that every planned unit was processed as planned, with one outcome per event; return the total counts."""
    total = Counts()
    for unit in plan.units():
        if unit.number not in done:
            raise ConservationError(f"the unit {unit.name} ({_describe(plan, unit)}) is missing")
        result = results[unit.number]
        if result.unit != unit:
            raise ConservationError(
                f"the unit {unit.name} has {_describe(plan, result.unit)} instead of {_describe(plan, unit)}"
            )
        if result.counts.entered != unit.stop - unit.start or not result.counts.balanced:
            raise ConservationError(f"the counts of {_describe(plan, unit)} do not balance: {result.counts}")
        total = total.plus(result.counts)
    if len(done) != sum(1 for _ in plan.units()):
        raise ConservationError("there are more units than were planned")
    return total


def _describe(plan: RunPlan, unit: RunUnit) -> str:
    return f"entries {unit.start} to {unit.stop} of {plan.files[unit.file].url}"


def merge_decisions(target: Path, folders: Sequence[Path], expected: int, paths: Sequence[str]) -> None:
    """Join the decisions of all readable events, in the order of the input; without events, the file has the columns."""
    rows = 0
    with atomic_path(target) as part:
        writer: pq.ParquetWriter | None = None
        pending: list[pa.Table] = []
        for folder in folders:
            table = _in_words(parts.read_part(folder / parts.DECIDED))
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
            kinds = {**parts.DECISION_TYPES, **{f"HLT_{path}": pa.bool_() for path in paths}}
            pq.write_table(_in_words(pa.schema(kinds).empty_table()), part, **parts.COMPACT)
    if rows != expected:
        raise ConservationError(f"{target} would have {rows} decisions, but {expected} events were decided")


def _in_words(decisions: pa.Table) -> pa.Table:
    """Return decisions with the words of outcomes and reasons instead of their codes, as dictionaries."""
    for name, kind in (("outcome", Outcome), ("reason", Reason)):
        index = decisions.schema.get_field_index(name)
        indices = decisions.column(name).combine_chunks()
        words = pa.DictionaryArray.from_arrays(indices, array_of_words(list(parts.codes_of(kind))))
        decisions = decisions.set_column(index, name, words)
    return decisions


@dataclass(frozen=True)
class Joined:
    """A file of a stream, and the input columns that its format cannot hold."""

    path: Path
    left_out: tuple[str, ...] = ()


def merge_stream(
    target: Path,
    files: Sequence[Path],
    expected: int,
    facts: Mapping[str, str],
    counters: Mapping[str, str],
    advance: Callable[[int], None],
    *,
    side_trees: Mapping[str, pa.Table] = MappingProxyType({}),
    compression: str | None = None,
) -> list[Joined]:
    """Join the parts of a stream; input files with different columns need separate output files.

    The first file gets the side trees: in two files their sums would count twice.
    """
    written = 0
    outputs: list[Joined] = []
    for number, group in enumerate(groups_of(files), 1):
        if target.suffix == ".root":  # missing values in a column may appear only in a later part
            group = group.without(not_for_trees(columns_of_schema(group.schema)))  # noqa: PLW2901 - the same group with fewer columns
        else:
            group = replace(group, schema=with_nulls(group.schema, group.notes.added))  # noqa: PLW2901
        output = target if number == 1 else target.with_name(f"{target.stem}-{number}{target.suffix}")
        named = counters_in_file(group.schema, counters, group.notes.alone)
        with open_writer(output, facts=facts, counters=named, compression=compression) as writer:
            for path in group.parts:
                table = parts.read_part(path)
                writer.write_table(filled(table, group.schema))
                written += len(table)
                advance(len(table))
            if number == 1:
                for name, table in side_trees.items():
                    writer.add_tree(name, table)
        outputs.append(Joined(output, group.notes.left_out))
    if written != expected:
        raise ConservationError(f"{target} has {written} events, but its stream took {expected}")
    return outputs


def provenance(
    plan: RunPlan, models: Mapping[str, Mapping[str, str]], versions: Mapping[str, str]
) -> dict[str, str]:
    """Return the metadata that every file of a run carries."""
    return {
        "tamis.menu": plan.menu,
        "tamis.models": json.dumps(models, sort_keys=True),
        "tamis.versions": json.dumps(versions, sort_keys=True),
        "tamis.mode": plan.mode,
    }
