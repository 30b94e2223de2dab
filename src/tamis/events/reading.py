"""Read events as a stream of chunks of a bounded size in bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import awkward as ak

from tamis._base import UsageError
from tamis.events.aliases import AliasedTable
from tamis.events.batch import IDENTITY, Events
from tamis.events.failures import BrokenFileError, reading
from tamis.events.identity import Identity
from tamis.events.locate import expand, sniff
from tamis.events.stream import CHUNK_BYTES, FileStream, salvage
from tamis.events.table import Table, choose, layout_bytes

Aliases = Mapping[str, str]  # name -> a column of the files, or a function of some


@dataclass(frozen=True)
class Chunk:
    """Events `start` to `stop` of one file; `synthesised` names the identity columns that the file lacks."""

    events: Events
    file: str
    start: int
    stop: int
    synthesised: tuple[str, ...] = ()


class EventReader(FileStream[Chunk]):
    """An iterable of chunks of events; a file without events yields one empty chunk, which carries its columns."""

    def __init__(
        self,
        files: Sequence[str],
        columns: Sequence[str] | None,
        chunk_bytes: int,
        tree: str | None,
        *,
        optional: Sequence[str] = (),
        aliases: Aliases | None = None,
        skip_bad_files: bool,
    ) -> None:
        """Store the options; no file is opened before the iteration."""
        super().__init__(files, skip_bad_files=skip_bad_files)
        self._columns = columns
        self._optional = optional
        self._chunk_bytes = chunk_bytes
        self._tree = tree
        self._aliases = aliases

    def _count_file(self, url: str) -> int:
        with contextlib.closing(open_table(url, self._tree, self._aliases)) as table:
            return table.entries

    def _read_file(self, url: str, index: int) -> Iterator[Chunk]:
        with contextlib.closing(open_table(url, self._tree, self._aliases)) as table:
            identity = Identity.of({**table.plain.columns, **table.plain.hidden})
            requested = choose(table, self._columns, self._optional)
            names = list(dict.fromkeys([*identity.reads, *requested]))
            per_event = max(table.bytes_per_event(names), 1.0)
            start = 0
            while start < table.entries or start == 0:
                stop = min(table.entries, start + max(1, int(self._chunk_bytes / per_event)))
                try:
                    data = read_checked(table, names, start, stop)
                except BrokenFileError as error:
                    reached, intact = salvage(partial(read_checked, table, names), start, stop)
                    if intact is not None:
                        yield _chunk(table, identity, requested, intact, start, reached, index)
                    raise error.at(reached, table.entries) from error
                if stop > start:
                    per_event = max(sum(map(layout_bytes, data.values())) / (stop - start), 1.0)
                chunk = _chunk(table, identity, requested, data, start, stop, index)
                del data  # the reader must not keep a chunk in memory while the caller works on it
                yield chunk
                del chunk
                start = max(stop, 1)


def read_events(
    paths: str | Path | Iterable[str | Path],
    *,
    columns: Sequence[str] | None = None,
    optional: Sequence[str] = (),
    chunk_bytes: int = CHUNK_BYTES,
    skip_bad_files: bool = False,
    tree: str | None = None,
    aliases: Aliases | None = None,
) -> EventReader:
    """Read ROOT and Parquet files (paths, globs, URLs) in chunks; `columns` may hold globs such as `FatJet_*`.

    `optional` columns are left out where a file lacks them. `aliases` maps names to columns of the files, beyond the aliases
    of their formats.
    """
    if chunk_bytes < 1:
        raise UsageError(f"chunk_bytes must be positive, not {chunk_bytes}")
    return EventReader(
        expand(paths),
        columns,
        chunk_bytes,
        tree,
        optional=optional,
        aliases=aliases,
        skip_bad_files=skip_bad_files,
    )


def open_table(url: str, tree: str | None = None, aliases: Aliases | None = None) -> AliasedTable:
    """Open the events of a ROOT or Parquet file, with the aliases of its format and further ones.

    `tree` is needed where a ROOT file has several without a usual name.
    """
    return AliasedTable(_open_plain(url, tree), aliases or {})


def _open_plain(url: str, tree: str | None) -> Table:
    kind = sniff(url)
    if kind == "root":
        from tamis.events.root import open_root

        return open_root(url, tree)
    if kind == "parquet":
        from tamis.events.parquet import ParquetTable

        with reading(url):
            return ParquetTable(url)
    raise UsageError(f"{url} ({kind}) holds arrays rather than events: read it with read_arrays")


def read_checked(table: Table, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
    """Read a range and check that every column has all of its entries, and lists with valid offsets.

    Corrupt offsets would lead to a segmentation fault in libraries that trust them.
    """
    data = table.read(names, start, stop)
    for name in names:
        found = len(data[name]) if name in data else 0
        if found != stop - start:
            raise BrokenFileError(table.url, f"column {name!r} has {found} entries instead of {stop - start}")
        if not _offsets_are_valid(data[name].layout):
            raise BrokenFileError(table.url, f"column {name!r} is corrupt: its list offsets are invalid")
    return data


def _offsets_are_valid(layout: ak.contents.Content) -> bool:
    if layout.is_record:
        return all(_offsets_are_valid(content) for content in layout.contents)
    if not hasattr(layout, "content"):
        return True
    if layout.is_list and not layout.is_regular and len(layout):
        starts, stops = layout.starts.data, layout.stops.data
        if starts.min() < 0 or stops.max() > layout.content.length or (stops < starts).any():
            return False
    return _offsets_are_valid(layout.content)


def _chunk(
    table: Table,
    identity: Identity,
    requested: Sequence[str],
    data: dict[str, ak.Array],
    start: int,
    stop: int,
    index: int,
) -> Chunk:
    identity.check(data, start, table.url)
    columns = identity.fill(data, start, stop, index)
    columns.update({name: data[name] for name in requested if name not in IDENTITY})
    return Chunk(Events.of(columns), table.url, start, stop, identity.synthesised)
