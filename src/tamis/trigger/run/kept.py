"""What streams keep of the events of a unit, as Arrow tables: each stream takes its columns and its rows of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import awkward as ak
import numpy as np
import pyarrow as pa

from tamis.events import IDENTITY, BrokenRange, Column, EventFile, Events
from tamis.events.arrow import table_of, with_columns
from tamis.trigger.decide import Decisions
from tamis.trigger.menu import Compiled
from tamis.trigger.run import parts
from tamis.trigger.run.output import stream_columns


@dataclass(frozen=True)
class Kept:
    """What a stream keeps of a unit: a table of the events that could be read, and the entry of each."""

    table: pa.Table | None
    entries: np.ndarray
    broken: tuple[BrokenRange, ...] = ()
    left_out: tuple[str, ...] = ()

    def rows(self, entries: np.ndarray) -> pa.Table:
        """Return the events of some entries."""
        return take(self.table, np.searchsorted(self.entries, entries))


def take(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """Return some events; all of them in their order are not copied."""
    return table if np.array_equal(rows, np.arange(len(table))) else table.take(pa.array(rows))


def both(
    table: pa.Table, entries: np.ndarray, other: pa.Table, others: np.ndarray
) -> tuple[pa.Table, np.ndarray]:
    """Return the events of which both parts could be read, with the columns of both."""
    common, here, there = np.intersect1d(entries, others, assume_unique=True, return_indices=True)
    table, other = take(table, here), take(other, there)
    schema = pa.schema([*table.schema, *other.schema])
    return pa.Table.from_arrays([*table.columns, *other.columns], schema=schema), common


def kept_columns(compiled: Compiled, file: EventFile, stream: str) -> tuple[list[str], tuple[str, ...]]:
    """Return the columns of a file that a stream keeps, and those that its format cannot hold; `debug` keeps all."""
    spec = compiled.menu.streams.get(stream) if stream != parts.DEBUG else None
    names = file.choose(["*"] if spec is None or spec.keep == "all" else list(spec.keep))
    if spec is not None and spec.format != "root":
        return names, ()
    kinds = file.columns
    left_out = dict.fromkeys(not_for_trees([Column(name, kinds[name]) for name in names]))
    return [name for name in names if name not in left_out], tuple(left_out)


def not_for_trees(columns: Sequence[Column]) -> list[str]:
    """Return those columns that a ROOT tree cannot hold."""
    from tamis.events.root_writer import tree_holds

    return [column.name for column in columns if not tree_holds(column)]


def no_events(compiled: Compiled, file: EventFile, stream: str) -> tuple[pa.Table, tuple[str, ...]]:
    """Return the columns of a stream that took no event: those of a file, and the bits of all paths.

    The columns come from the declared types alone, since a broken column must not prevent the file of a stream.
    """
    names, left_out = kept_columns(compiled, file, stream)
    kinds = file.columns
    columns = {
        name: ak.forms.from_type(ak.types.from_datashape(kinds[name], highlevel=False)).length_zero_array()
        for name in [*IDENTITY, *names]
    }
    nothing: np.ndarray = np.empty(0, np.int64)
    bits = stream_columns(compiled.program, Decisions.empty(0, len(compiled.program.paths)), nothing)
    return with_columns(table_of(Events.of(columns)), bits), left_out
