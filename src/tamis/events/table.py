"""The interfaces of file formats: tables of events, and files of named arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

import awkward as ak
import numpy as np

from tamis._base import MissingColumnError


class Table(Protocol):
    """An open table of events: typed columns, and any range of events of some of them."""

    @property
    def url(self) -> str:
        """The file."""

    @property
    def format(self) -> str:
        """The name of the format, such as `ROOT TTree`."""

    @property
    def name(self) -> str:
        """The tree inside the file."""

    @property
    def entries(self) -> int:
        """The number of events."""

    @property
    def columns(self) -> Mapping[str, str]:
        """The columns that hold data: name -> awkward type."""

    @property
    def hidden(self) -> Mapping[str, str]:
        """Columns that describe the layout, such as nMuon; they are read only when requested by name."""

    @property
    def opaque(self) -> Mapping[str, str]:
        """Columns that cannot be read: name -> reason, with the type in the file's own words."""

    def unsupported(self, names: Sequence[str]) -> dict[str, str]:
        """Return those columns that have a type but cannot be read in practice: name -> reason."""

    def bytes_per_event(self, names: Sequence[str]) -> float:
        """Return an estimate of the uncompressed bytes of these columns per event."""

    def sizes(self, name: str) -> tuple[int | None, int | None]:
        """Return the compressed and the uncompressed bytes of a column, None where the file does not record them."""

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        """Read a range of events."""

    def close(self) -> None:
        """Close the file."""


class ReadableTable(Table, Protocol):
    """A table as commands read it, which can say why it lacks a column."""

    def why_missing(self, name: str) -> str:
        """Return the end of a sentence on a missing column."""


@dataclass(frozen=True)
class Dataset:
    """Shape, type and compressed size of an array in a file."""

    shape: tuple[int, ...]
    dtype: np.dtype
    compressed_bytes: int | None = None


class ArrayFile(Protocol):
    """An open file of named arrays, any range of rows of which can be read."""

    @property
    def datasets(self) -> Mapping[str, Dataset]:
        """The arrays."""

    @property
    def others(self) -> Mapping[str, str]:
        """Objects that cannot be read: name -> description."""

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """Read rows of one array."""

    def close(self) -> None:
        """Close the file."""


def type_of(table: Table, name: str) -> str | None:
    """Return the type of a column or counter, or None; without interpreting all others, where the format allows it."""
    direct = getattr(table, "type_of", None)
    found: str | None = direct(name) if direct else table.columns.get(name) or table.hidden.get(name)
    return found


def choose(table: ReadableTable, requested: Sequence[str] | None, optional: Sequence[str] = ()) -> list[str]:
    """Return the columns that match names and globs, in the order of the file; all of them for None.

    Aliases and counters are matched by a glob that matches no column. An optional column that the file lacks is
    left out; any other is an error.
    """
    if requested is None:
        unsupported = table.unsupported(list(table.columns))
        return [name for name in table.columns if name not in unsupported]
    known = {**table.columns, **table.hidden}
    named = set(optional) & set(known)
    globbed: set[str] = set()
    for name in requested:
        if name in known:
            named.add(name)
        elif any(mark in name for mark in "*?["):
            matches = [column for column in table.columns if fnmatchcase(column, name)]
            matches = matches or [column for column in table.hidden if fnmatchcase(column, name)]
            if not matches:
                raise MissingColumnError(f"{table.url} ({table.name}) has no column that matches {name!r}")
            globbed.update(matches)
        elif name in table.opaque:
            raise MissingColumnError(
                f"{table.url} ({table.name}): column {name!r} cannot be read: {table.opaque[name]}"
            )
        else:
            raise MissingColumnError(
                f"{table.url} ({table.name}) has no column {name!r}{table.why_missing(name)}"
            )
    unsupported = table.unsupported([name for name in known if name in globbed - named])
    chosen = named | (globbed - set(unsupported))
    return [name for name in known if name in chosen]


def probe(table: Table, names: Sequence[str], most: int = 64) -> float:
    """Return the bytes per event that the first events take."""
    events = min(table.entries, most)
    data = table.read(names, 0, events) if events else {}
    return sum(map(layout_bytes, data.values())) / max(events, 1)


def layout_bytes(array: ak.Array) -> int:
    """Return the bytes of an array's elements, regardless of the size of the buffers that it is a view of."""
    return _bytes(array.layout)


def _bytes(layout: ak.contents.Content) -> int:
    if layout.is_list and not layout.is_regular:
        packed = layout.to_ListOffsetArray64(False)
        first, last = int(packed.offsets[0]), int(packed.offsets[-1])
        return 8 * len(packed.offsets) + _bytes(packed.content[first:last])
    if layout.is_record:
        return sum(_bytes(content[: layout.length]) for content in layout.contents)
    return int(layout.nbytes)
