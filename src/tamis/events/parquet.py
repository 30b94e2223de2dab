"""Events in Parquet: one column per branch, read and written by row groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import awkward as ak
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from tamis._base import atomic_path
from tamis.events.arrow import array_of, type_of
from tamis.events.failures import FOREIGN, reading
from tamis.events.locate import is_url
from tamis.events.table import probe

_BATCH_EVENTS = 2048  # decoded at a time, so that a huge row group does not fill the memory
_BUFFER_BYTES = 1 << 20  # fetched at a time of a column, instead of the whole row group
_ARROW_ERRORS: tuple[type[Exception], ...] = (pa.ArrowException,)


class ParquetSink:
    """An open Parquet file; each batch becomes a row group, with a checksum on every page."""

    def __init__(self, path: Path, schema: pa.Schema, facts: Mapping[str, str], compression: str) -> None:
        """Open the file."""
        metadata = {name.encode(): text.encode() for name, text in facts.items()}
        self._writer = pq.ParquetWriter(
            path,
            schema.with_metadata(metadata),
            compression=compression,
            use_dictionary=False,
            write_page_checksum=True,
        )

    def append(self, table: pa.Table) -> None:
        """Write one batch."""
        self._writer.write_table(table, row_group_size=max(len(table), 1))

    def add_tree(self, path: Path, name: str, table: pa.Table) -> None:
        """Write a further table to a file of its own, since a Parquet file has one: `out-Runs.parquet`."""
        own = path.with_name(f"{path.stem}-{name}.parquet")
        with atomic_path(own) as part:
            pq.write_table(table, part, compression="zstd", write_page_checksum=True)

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


def open_sink(
    path: Path,
    schema: pa.Schema,
    facts: Mapping[str, str],
    counters: Mapping[str, str],
    compression: str | None = None,
) -> ParquetSink:
    """Open a Parquet file for batches of one schema; `facts` go into its metadata; `counters` are ignored."""
    del counters
    return ParquetSink(path, schema, facts, compression or "zstd")


class ParquetTable:
    """The columns of a Parquet file; the members of a column of records become `Collection_member`."""

    format = "Parquet"
    name = "table"

    def __init__(self, url: str) -> None:
        """Read the footer."""
        self.url = url
        # keep the opener: fsspec closes the archive or connection under a file when the opener is collected
        self._opener = fsspec.open(url, "rb") if is_url(url) else None
        with reading(url, *_ARROW_ERRORS):
            self._handle = self._opener.open() if self._opener else pa.OSFile(url)
        try:
            with reading(url, *_ARROW_ERRORS):
                # pre-buffering, pyarrow's default, keeps every row group in memory until the file is closed
                self._file = pq.ParquetFile(
                    self._handle, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
                )
                self.entries = int(self._file.metadata.num_rows)
                self._arrow: pa.Schema = self._file.schema_arrow  # pyarrow builds it on every access
                self._paths = dict(_columns(self._arrow))
                self.columns, self.opaque = self._types()
        except BaseException:
            self._handle.close()
            raise
        self.hidden: dict[str, str] = {}
        self._stream: Iterator[pa.RecordBatch] = iter(())
        self._streamed: tuple[tuple[str, ...], int] | None = None  # columns and next row of the stream
        self._rest: pa.RecordBatch | None = None

    def _types(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return columns (name -> type) and opaque: awkward has no decimal and map types, among others."""
        columns: dict[str, str] = {}
        opaque: dict[str, str] = {}
        for name, path in self._paths.items():
            arrow = self._arrow.field(path[0]).type
            try:
                columns[name] = (
                    type_of(arrow)
                    if len(path) == 1
                    else str(array_of(pa.array([], arrow), path[1:]).type.content)
                )
            except (*FOREIGN, *_ARROW_ERRORS):
                opaque[name] = f"unsupported type {arrow}"
        return columns, opaque

    def clusters(self, names: Sequence[str]) -> list[int]:
        """Return the first row of each row group."""
        del names
        groups = range(self._file.num_row_groups)
        return [0, *accumulate(self._file.metadata.row_group(group).num_rows for group in groups)][:-1]

    def unsupported(self, names: Sequence[str]) -> dict[str, str]:  # noqa: ARG002 - part of the interface
        """Return no column: Parquet describes its types completely."""
        return {}

    def bytes_per_event(self, names: Sequence[str]) -> float:
        """Return the bytes per event of the first events, since the size of encoded pages says little."""
        return probe(self, names)

    def sizes(self, name: str) -> tuple[int | None, int | None]:
        """Return compressed and uncompressed bytes."""
        top = self._paths[name]
        compressed = uncompressed = 0
        for group in range(self._file.num_row_groups):
            meta = self._file.metadata.row_group(group)
            for index in range(meta.num_columns):
                column = meta.column(index)
                parts = column.path_in_schema.split(".")
                if parts[0] == top[0] and (len(top) == 1 or top[-1] in parts):
                    compressed += column.total_compressed_size
                    uncompressed += column.total_uncompressed_size
        return compressed, uncompressed

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        """Read a range of rows; a range that follows the last one continues the same stream."""
        with reading(self.url, *_ARROW_ERRORS):
            tops = tuple(dict.fromkeys(self._paths[name][0] for name in names))
            if self._streamed != (tops, start):
                self._seek(tops, start)
            schema = pa.schema([self._arrow.field(top) for top in tops])
            table = pa.Table.from_batches(list(self._take(stop - start)), schema).combine_chunks()
            self._streamed = (tops, stop)
            columns = {top: table.column(top) for top in tops}
            return {name: array_of(columns[self._paths[name][0]], self._paths[name][1:]) for name in names}

    def _seek(self, tops: tuple[str, ...], start: int) -> None:
        """Start a stream at the row group of a row, and skip the rows before it."""
        self._streamed = None
        group, row = 0, 0
        while group < self._file.num_row_groups - 1:
            rows = self._file.metadata.row_group(group).num_rows
            if row + rows > start:
                break
            group, row = group + 1, row + rows
        groups = list(range(group, self._file.num_row_groups))
        self._stream = self._file.iter_batches(
            _BATCH_EVENTS, row_groups=groups, columns=list(tops), use_threads=False
        )
        self._rest = None
        for _ in self._take(start - row):
            pass

    def _take(self, count: int) -> Iterator[pa.RecordBatch]:
        while count > 0:
            batch = self._rest if self._rest is not None else next(self._stream, None)
            self._rest = None
            if batch is None:
                return  # too few rows: the caller checks
            if batch.num_rows > count:
                self._rest = batch.slice(count)
                batch = batch.slice(0, count)
            count -= batch.num_rows
            yield batch

    def close(self) -> None:
        """Close the file."""
        self._stream, self._rest = iter(()), None
        self._file.close()
        self._handle.close()


def _columns(schema: pa.Schema) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield (column, path); members of records and of lists of records are separate columns."""
    for field in schema:
        kind = field.type
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            kind = kind.value_type
        if pa.types.is_struct(kind):
            for index in range(kind.num_fields):
                member = kind.field(index).name
                yield f"{field.name}_{member}", (field.name, member)
        else:
            yield field.name, (field.name,)
