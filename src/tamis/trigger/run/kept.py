"""The columns that streams keep of a unit as Arrow tables, and the columns that a run adds to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import awkward as ak
import numpy as np
import pyarrow as pa

from tamis.events import IDENTITY, BrokenRange, Column, ColumnData, EventFile, Events, Jagged
from tamis.events.arrow import array_of_numbers, table_of, with_columns
from tamis.trigger.decide import Decisions, Reason
from tamis.trigger.menu import CompiledMenu, MenuProgram
from tamis.trigger.run import parts


@dataclass(frozen=True)
class Kept:
    """The kept columns of a stream: a table of the readable events, the entry of each, and the broken ranges."""

    table: pa.Table | None
    entries: np.ndarray
    broken: tuple[BrokenRange, ...] = ()
    left_out: tuple[str, ...] = ()

    def rows(self, entries: np.ndarray) -> pa.Table:
        """Return the events of some entries."""
        return take(self.table, np.searchsorted(self.entries, entries))


def take(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """Return some events, without a copy if these are all of them in order."""
    return table if np.array_equal(rows, np.arange(len(table))) else table.take(array_of_numbers(rows))


def both(
    table: pa.Table, entries: np.ndarray, other: pa.Table, others: np.ndarray
) -> tuple[pa.Table, np.ndarray]:
    """Join two tables on the entries that both have."""
    common, here, there = np.intersect1d(entries, others, assume_unique=True, return_indices=True)
    table, other = take(table, here), take(other, there)
    schema = pa.schema([*table.schema, *other.schema])
    return pa.Table.from_arrays([*table.columns, *other.columns], schema=schema), common


def kept_columns(compiled: CompiledMenu, file: EventFile, stream: str) -> tuple[list[str], tuple[str, ...]]:
    """Return the columns of a file that a stream keeps (`debug`: all), and those that its format cannot hold."""
    spec = compiled.menu.streams.get(stream) if stream != parts.DEBUG else None
    names = file.choose(["*"] if spec is None else compiled.columns_to_keep(spec, file))
    if spec is not None and spec.format != "root":
        return names, ()
    left_out = dict.fromkeys(not_for_trees([Column(name, str(file.type_of(name))) for name in names]))
    return [name for name in names if name not in left_out], tuple(left_out)


def not_for_trees(columns: Sequence[Column]) -> list[str]:
    """Return the columns that a ROOT tree cannot hold."""
    from tamis.events.root_writer import tree_holds

    return [column.name for column in columns if not tree_holds(column)]


def no_events(compiled: CompiledMenu, file: EventFile, stream: str) -> tuple[pa.Table, tuple[str, ...]]:
    """Return the columns of a stream that took no event: those of a file, and the bits of all paths.

    The columns come from the declared types alone, since a broken column must not prevent the file of a stream.
    """
    names, left_out = kept_columns(compiled, file, stream)
    kinds = {
        **file.columns,
        **{name: str(file.type_of(name)) for name in names},
    }  # counters are not in `columns`
    columns = {name: _empty(kinds[name]) for name in [*IDENTITY, *names]}
    nothing: np.ndarray = np.empty(0, np.int64)
    bits = stream_columns(compiled.program, Decisions.empty(0, len(compiled.program.paths)), nothing)
    return with_columns(table_of(Events.of(columns)), bits), left_out


@cache
def _empty(kind: str) -> ak.Array:
    """Return a column without events; awkward takes 15 ms to parse a type."""
    return ak.forms.from_type(ak.types.from_datashape(kind, highlevel=False)).length_zero_array()


def stream_columns(program: MenuProgram, decisions: Decisions, rows: np.ndarray) -> dict[str, object]:
    """Return the columns that are added to accepted events: bits and prescales of paths, and those of stages."""
    columns: dict[str, object] = {}
    for index, (path, prescale) in enumerate(zip(program.paths, program.prescales, strict=True)):
        columns[f"HLT_{path}"] = decisions.paths[rows, index]
        columns[f"HLT_{path}_prescale"] = np.full(len(rows), prescale, np.int32)
    for name, column in decisions.added.items():
        columns[name] = _awkward(column, rows)
    return columns


def debug_columns(
    program: MenuProgram, decisions: Decisions, rows: np.ndarray, file: str, entries: np.ndarray
) -> dict[str, object]:
    """Return the columns that are added to events of the debug stream: reason, stage, message, file and entry."""
    labels = [operation.label for operation in program.operations]
    return {
        "debug_reason": ak.Array([Reason(code).name.lower() for code in decisions.reason[rows]]),
        "debug_stage": ak.Array([labels[at] if at >= 0 else "" for at in decisions.stage[rows]]),
        "debug_message": ak.Array([decisions.message.get(int(row), "") for row in rows]),
        "debug_file": ak.Array([file] * len(rows)),
        "debug_entry": entries.astype(np.int64),
    }


def _awkward(column: ColumnData, rows: np.ndarray) -> object:
    if isinstance(column, Jagged):
        chosen = column.take(rows)
        index = ak.index.Index64(chosen.offsets.astype(np.int64))
        return ak.Array(
            ak.contents.ListOffsetArray(index, ak.contents.NumpyArray(np.ascontiguousarray(chosen.values)))
        )
    return column[rows]
