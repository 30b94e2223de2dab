"""From the folders of all units to the files of a run, and the proof that no event is missing or there twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from quickbeam._base import ConservationError, atomic_path
from quickbeam.events import Column, EventFile, Events, open_writer, read_events
from quickbeam.trigger.run import parts
from quickbeam.trigger.run.documents import Counts, Plan, Unit, UnitResult


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
            table = pq.read_table(folder / parts.DECISIONS)
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


def merge_stream(
    target: Path,
    files: Sequence[Path],
    expected: int,
    facts: Mapping[str, str],
    counters: Mapping[str, str],
    advance: Callable[[int], None],
) -> list[Path]:
    """Join the parts of a stream; files whose events have other columns of their own go into a file of their own."""
    written = 0
    outputs: list[Path] = []
    for number, (schema, group) in enumerate(_by_schema(files).items(), 1):
        output = target if number == 1 else target.with_name(f"{target.stem}-{number}{target.suffix}")
        with open_writer(output, facts=facts, counters=counters) as writer:
            for path in group:
                for chunk in read_events(path):
                    writer.write(_filled(chunk.events, schema))
                    written += len(chunk.events)
                    advance(len(chunk.events))
        outputs.append(output)
    if written != expected:
        raise ConservationError(f"{target} holds {written} events, but its stream took {expected}")
    return outputs


Schema = tuple[Column, ...]


def _by_schema(files: Sequence[Path]) -> dict[Schema, list[Path]]:
    """Group parts by the columns of their events; what stages added may be missing in a part, where no stage came so far."""
    groups: dict[tuple[Column, ...], list[tuple[Path, Schema]]] = {}
    for path in files:
        schema = _schema(path)
        own = tuple(column for column in schema if not _is_added(schema, column.name))
        groups.setdefault(own, []).append((path, schema))
    merged: dict[Schema, list[Path]] = {}
    for own, members in groups.items():
        added: dict[str, str] = {}
        for _, schema in members:
            for column in schema:
                if _is_added(schema, column.name):
                    added[column.name] = _wider(added.get(column.name), column.type)
        merged[(*own, *(Column(name, kind) for name, kind in added.items()))] = [path for path, _ in members]
    return merged


def _schema(path: Path) -> Schema:
    with EventFile(str(path)) as file:
        return file.schema


def _is_added(schema: Schema, name: str) -> bool:
    """Tell whether a stage may have added a column: those follow on the bits."""
    names = [column.name for column in schema]
    first = next(
        (i for i, n in enumerate(names) if n.startswith("HLT_") and n.endswith("_prescale")), len(names)
    )
    return names.index(name) > first and not name.startswith("HLT_")


def _wider(one: str | None, other: str) -> str:
    if one is None or one == other or "unknown" in one:
        return other
    if "unknown" in other:
        return one
    prefix = "var * " if one.startswith("var * ") else ""
    kinds = [np.dtype(kind.removeprefix("var * ")) for kind in (one, other)]
    return prefix + str(np.result_type(*kinds))


def _filled(events: Events, schema: Schema) -> Events:
    """Give a part the columns and types of all: NaN, 0 or an empty list where no stage came so far."""
    columns: dict[str, object] = {}
    for column in schema:
        prefix, _, kind = column.type.rpartition(" * ")
        if column.name in events:
            array = events[column.name]
            same = str(array.type.content) == column.type
            columns[column.name] = array if same else ak.values_astype(array, kind)
        elif prefix == "var":
            columns[column.name] = ak.values_astype(
                ak.unflatten(np.empty(0), np.zeros(len(events), int)), kind
            )
        else:
            dtype = np.dtype(kind)
            columns[column.name] = np.full(len(events), np.nan if dtype.kind == "f" else 0, dtype)
    return Events.of(columns)


def provenance(
    plan: Plan, models: Mapping[str, Mapping[str, str]], versions: Mapping[str, str]
) -> dict[str, str]:
    """Return what is written into every file of a run."""
    return {
        "quickbeam.menu": plan.menu,
        "quickbeam.models": json.dumps(models, sort_keys=True),
        "quickbeam.versions": json.dumps(versions, sort_keys=True),
        "quickbeam.mode": plan.mode,
    }
