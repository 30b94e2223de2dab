"""What every file format provides: columns with types, and any range of events of some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Protocol

import awkward as ak

from tamis._base import MissingColumnError, did_you_mean


class Table(Protocol):
    """An open table of events in some file."""

    @property
    def url(self) -> str:
        """The file."""

    @property
    def format(self) -> str:
        """The format, as people call it."""

    @property
    def name(self) -> str:
        """The tree inside the file."""

    @property
    def entries(self) -> int:
        """The number of events."""

    @property
    def columns(self) -> Mapping[str, str]:
        """What a reader of everything gets: name -> awkward type."""

    @property
    def hidden(self) -> Mapping[str, str]:
        """Layout rather than data, such as nMuon; read only when asked for by name."""

    @property
    def opaque(self) -> Mapping[str, str]:
        """What cannot be read, with its type as the file tells it."""

    def usable(self, names: Sequence[str]) -> list[str]:
        """Return the columns that can be read in practice."""

    def bytes_per_event(self, names: Sequence[str]) -> float:
        """Return a first guess of the bytes of these columns per event, uncompressed."""

    def sizes(self, name: str) -> tuple[int | None, int | None]:
        """Return the compressed and the uncompressed bytes of a column where the file tells them."""

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        """Read a range of events."""

    def close(self) -> None:
        """Close the file."""


def choose(table: Table, wanted: Sequence[str] | None, optional: Sequence[str] = ()) -> list[str]:
    """Return the columns that names and globs ask for, in the order of the file; all of them for None.

    An optional column that the file lacks is left out; any other is an error.
    """
    if wanted is None:
        return table.usable(list(table.columns))
    known = {**table.columns, **table.hidden}
    asked = set(optional) & set(known)
    globbed: set[str] = set()
    for name in wanted:
        if name in known:
            asked.add(name)
        elif any(mark in name for mark in "*?["):
            matches = [column for column in table.columns if fnmatchcase(column, name)]
            if not matches:
                raise MissingColumnError(f"{table.url} ({table.name}) has no column that matches {name!r}")
            globbed.update(matches)
        else:
            raise MissingColumnError(_missing(table, name, known))
    kept = asked | set(table.usable([name for name in known if name in globbed - asked]))
    return [name for name in known if name in kept]


def _missing(table: Table, name: str, known: Mapping[str, str]) -> str:
    if name in table.opaque:
        return f"{table.url} ({table.name}): column {name!r} is of a type that cannot be read: {table.opaque[name]}"
    hint = did_you_mean(name, known)
    return f"{table.url} ({table.name}) has no column {name!r}{f'; {hint}' if hint else ''}"


def probe(table: Table, names: Sequence[str], most: int = 64) -> float:
    """Return the bytes per event that the first events take."""
    events = min(table.entries, most)
    data = table.read(names, 0, events) if events else {}
    return sum(map(layout_bytes, data.values())) / max(events, 1)


def layout_bytes(array: ak.Array) -> int:
    """Return the bytes that an array's elements take, however large the buffers are that it is a view of."""
    return _bytes(array.layout)


def _bytes(layout: ak.contents.Content) -> int:
    if layout.is_list and not layout.is_regular:
        packed = layout.to_ListOffsetArray64(False)
        first, last = int(packed.offsets[0]), int(packed.offsets[-1])
        return 8 * len(packed.offsets) + _bytes(packed.content[first:last])
    if layout.is_record:
        return sum(_bytes(content[: layout.length]) for content in layout.contents)
    return int(layout.nbytes)
