"""Write events, atomically and streamed, in the format of the suffix."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tamis._base import DataError, UsageError, atomic_path
from tamis.events.batch import Column, Events

if TYPE_CHECKING:
    import pyarrow as pa

# Large enough that a basket or row group compresses well, small enough that a batch of writers fits in memory.
FLUSH_BYTES = 32_000_000
FLUSH_BYTES_PER_COLUMN = 40_000  # a basket or column chunk has an overhead of some thousand bytes
MOST_PENDING = 64  # batches; many small ones take more memory for their metadata than for their data

# suffix -> module of the writer; imported on use, to keep `import tamis.events` light
WRITERS = {".root": "tamis.events.root_writer", ".parquet": "tamis.events.parquet"}


class Sink(Protocol):
    """The interface of a format: it writes batches of one schema, and is closed once."""

    def append(self, table: pa.Table) -> None:
        """Write one batch."""

    def add_tree(self, path: Path, name: str, table: pa.Table) -> None:
        """Write a further table beside the events; `path` is the name that the file gets in the end."""

    def close(self) -> None:
        """Finish the file."""


class EventWriter:
    """Collects batches of one schema and writes them in pieces large enough for compression."""

    def __init__(
        self,
        path: Path,
        part: Path,
        flush_bytes: int | None = None,
        facts: Mapping[str, str] | None = None,
        counters: Mapping[str, str] | None = None,
        compression: str | None = None,
    ) -> None:
        """Prepare to write to `part`, which becomes `path` on success; the first batch opens the file."""
        self.path = path
        self.events_written = 0
        self._part = part
        self._flush_bytes = flush_bytes
        self._facts, self._named_counters = dict(facts or {}), dict(counters or {})
        self._compression = compression
        self._pending: list[pa.Table] = []
        self._pending_bytes = 0
        self._schema: pa.Schema | None = None
        self._sink: Sink | None = None

    def write(self, events: Events) -> None:
        """Add a batch; every batch must have the columns and types of the first."""
        from tamis.events.arrow import table_of

        table = table_of(events)
        if self._schema is None:
            _check_types(table.schema, self.path)
        self.write_table(table)

    def write_table(self, table: pa.Table) -> None:
        """Add a batch that is an Arrow table of events."""
        if self._schema is None:
            self._schema = table.schema
        elif not table.schema.equals(self._schema):
            from tamis.events.arrow import columns_of_schema

            first, other = columns_of_schema(self._schema), columns_of_schema(table.schema)
            if first != other:  # several Arrow types may match one awkward type
                raise DataError(_difference(first, other, self.path))
            table = table.cast(self._schema)
        if len(self._pending) == MOST_PENDING:
            self._pending = [_joined(self._pending)]
        self._pending.append(table)
        self._pending_bytes += table.get_total_buffer_size()
        self.events_written += len(table)
        most = self._flush_bytes or max(FLUSH_BYTES, FLUSH_BYTES_PER_COLUMN * table.num_columns)
        if self._pending_bytes >= most:
            self.flush()

    def flush(self) -> None:
        """Write the pending batches; raises if there was no batch at all, as the columns are unknown."""
        if self._schema is None:
            raise UsageError(
                f"nothing was written to {self.path}: write at least one batch (an empty one carries the columns)"
            )
        if not self._pending:
            return
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        if self._sink is None:
            self._sink = import_module(WRITERS[self.path.suffix]).open_sink(
                self._part, self._schema, self._facts, self._named_counters, self._compression
            )
        self._sink.append(_joined(pending))

    def add_tree(self, name: str, table: pa.Table) -> None:
        """Write a further table beside the events; after the last batch of events."""
        self.flush()
        if self._sink is not None:
            self._sink.add_tree(self.path, name, table)

    def close(self) -> None:
        """Close the file as it is."""
        if self._sink is not None:
            self._sink.close()


@contextlib.contextmanager
def open_writer(
    path: str | Path,
    *,
    flush_bytes: int | None = None,
    facts: Mapping[str, str] | None = None,
    counters: Mapping[str, str] | None = None,
    compression: str | None = None,
) -> Iterator[EventWriter]:
    """Open a ROOT or Parquet file for writing; it appears only if the block ends without an error.

    `facts` are strings to store in the file, such as provenance. `counters` maps a column to its counter branch in ROOT, if
    that is not the one of its collection. `compression` is lz4 (the default for ROOT) or zstd (for Parquet), for ROOT also zlib or lzma.
    """
    target = Path(path)
    if target.suffix not in WRITERS:
        raise UsageError(f"cannot write {target.name!r}: events are written as .root or .parquet; rename it")
    if target.is_dir():
        raise UsageError(f"cannot write {target}: it is a folder")
    with atomic_path(target) as part:
        writer = EventWriter(target, part, flush_bytes, facts, counters, compression)
        try:
            yield writer
            writer.flush()
        finally:
            writer.close()


def write_events(path: str | Path, events: Events) -> None:
    """Write one batch as a whole file."""
    with open_writer(path) as writer:
        writer.write(events)


def _joined(tables: list[pa.Table]) -> pa.Table:
    import pyarrow as pa

    return tables[0] if len(tables) == 1 else pa.concat_tables(tables).combine_chunks()


def _check_types(schema: pa.Schema, path: Path) -> None:
    from tamis.events.arrow import columns_of_schema

    unknown = [column.name for column in columns_of_schema(schema) if "unknown" in column.type]
    if unknown:
        raise DataError(
            f"cannot write {path}: {', '.join(unknown)} is empty and has no type; "
            "convert it, for example with ak.values_astype(column, 'float32')"
        )


def _difference(first: tuple[Column, ...], other: tuple[Column, ...], path: Path) -> str:
    known, found = ({column.name: column.type for column in schema} for schema in (first, other))
    for name, kind in known.items():
        if name not in found:
            return f"{path}: a batch lacks the column {name!r} that the first batch had"
        if found[name] != kind:
            return f"{path}: column {name!r} is {found[name]} in a batch, but {kind} in the first"
    extra = [name for name in found if name not in known]
    if extra:
        return f"{path}: a batch has the column {extra[0]!r} that the first batch did not have"
    return f"{path}: a batch has its columns in a different order than the first batch"
