"""Summarise a file of events or arrays; beyond its headers only the identity of the events is read."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path

import awkward as ak
import numpy as np
from pydantic import Field

from tamis._base import Document, UnreadableFileError
from tamis.events.aliases import AliasedTable
from tamis.events.arrays import open_arrays
from tamis.events.batch import IDENTITY
from tamis.events.failures import reading
from tamis.events.identity import Identity
from tamis.events.locate import is_url, sniff
from tamis.events.reading import Aliases, open_table, read_checked
from tamis.events.table import Table

_STEP = 1_000_000
_NAMED_COLUMNS = 6  # in the short form of a tree
_COUNTED_EVENTS = 1000  # for the mean number of objects
_LIST_OF_NUMBERS = re.compile(r"var \* \??(bool|u?int\d+|float\d+)")


class ColumnSummary(Document):
    """A column: name, awkward type (or why it cannot be read), and its bytes, where the file records them."""

    name: str
    type: str
    compressed_bytes: int | None = None
    uncompressed_bytes: int | None = None


class CollectionSummary(Document):
    """Columns with a common first part of their name: objects such as jets, or values of the event such as triggers.

    `per_event` is the mean number of objects in the first events, None for values of the event.
    """

    name: str
    columns: int
    per_event: float | None = None
    compressed_bytes: int | None = None


class ProfileSummary(Document):
    """The experiment's format of a file: its name, what it is, the aliases that serve standard columns, and what it lacks."""

    name: str
    about: str
    aliases: dict[str, str] = Field(default_factory=dict)
    lacks: dict[str, str] = Field(
        default_factory=dict, description="Prefix of columns -> why the format has none, and what to do."
    )


class TreeSummary(Document):
    """A tree or table of a file in short: the number of its columns, and the names of the first ones."""

    name: str
    kind: str
    entries: int
    columns: int
    first_columns: str


class IdentitySummary(Document):
    """The columns of run, luminosity block and event (None: generated), their ranges, and how often each is missing."""

    run: str | None
    luminosity_block: str | None
    event: str | None
    synthesised: tuple[str, ...]
    run_range: tuple[int, int] | None = None
    luminosity_block_range: tuple[int, int] | None = None
    event_range: tuple[int, int] | None = None
    missing: dict[str, int] = Field(default_factory=dict)


class DatasetSummary(Document):
    """An array of an HDF5 or NumPy file."""

    name: str
    type: str
    shape: tuple[int, ...]
    compressed_bytes: int | None
    uncompressed_bytes: int


class FileSummary(Document):
    """A file: its format, and its trees with the columns of the one that has the events, or its datasets.

    `tree` is None for a file with several trees of which none has a usual name.
    """

    path: str
    format: str
    file_bytes: int | None
    trees: tuple[TreeSummary, ...] = ()
    tree: str | None = None
    entries: int | None = None
    profile: ProfileSummary | None = None
    collections: tuple[CollectionSummary, ...] = ()
    columns: tuple[ColumnSummary, ...] = ()
    unreadable_columns: tuple[ColumnSummary, ...] = ()
    identity: IdentitySummary | None = None
    datasets: tuple[DatasetSummary, ...] = ()


def inspect_file(path: str | Path, *, tree: str | None = None, aliases: Aliases | None = None) -> FileSummary:
    """Summarise a ROOT, Parquet, HDF5 or NumPy file."""
    url = str(path)
    kind = sniff(url)
    size = None if is_url(url) else Path(url).stat().st_size
    if kind in {"root", "parquet"}:
        return _events(url, kind, size, tree, aliases or {})
    with contextlib.closing(open_arrays(url)) as file:
        datasets = tuple(
            DatasetSummary(
                name=name,
                type=str(found.dtype),
                shape=found.shape,
                compressed_bytes=found.compressed_bytes,
                uncompressed_bytes=int(np.prod(found.shape, dtype=np.int64)) * found.dtype.itemsize,
            )
            for name, found in file.datasets.items()
        )
        others = tuple(ColumnSummary(name=name, type=what) for name, what in file.others.items())
    return FileSummary(
        path=url,
        format={"hdf5": "HDF5"}.get(kind, kind),
        file_bytes=size,
        datasets=datasets,
        unreadable_columns=others,
    )


def _events(url: str, kind: str, size: int | None, tree: str | None, aliases: Aliases) -> FileSummary:
    if kind == "root":
        return _root(url, size, tree, aliases)
    with contextlib.closing(open_table(url, tree, aliases)) as table:
        return _summary(table, size, (_tree(table, table.format),))


def _root(url: str, size: int | None, requested: str | None, aliases: Aliases) -> FileSummary:
    """Summarise a ROOT file; every tree is parsed once, which takes most of the time."""
    from tamis.events.root import ROOT_ERRORS, choose_tree, default_tree, open_file, open_tree, trees_of

    with contextlib.closing(open_file(url)) as file:
        kinds = trees_of(file, url)
        chosen = requested or default_tree(kinds)
        if chosen is None or chosen not in kinds:
            choose_tree(
                file, kinds, requested or next(iter(kinds), None), url
            )  # raises for an unknown or no tree
        tables, found = {}, []
        for name, of in kinds.items():
            with reading(url, *ROOT_ERRORS):
                tables[name] = open_tree(file, url, name, of)
                found.append(_tree(tables[name], of))
        if chosen is None:
            return FileSummary(path=url, format="ROOT", file_bytes=size, trees=tuple(found))
        return _summary(AliasedTable(tables[chosen], aliases), size, tuple(found))


def _summary(table: AliasedTable, size: int | None, trees: tuple[TreeSummary, ...]) -> FileSummary:
    plain = table.plain
    opaque = dict(plain.opaque)
    with contextlib.suppress(UnreadableFileError):  # damage is reported on reading the column
        opaque |= plain.unsupported(list(plain.columns))
    columns = tuple(
        ColumnSummary(name=name, type=of, compressed_bytes=packed, uncompressed_bytes=unpacked)
        for name, of in {**plain.columns, **plain.hidden}.items()
        if name not in opaque
        for packed, unpacked in [plain.sizes(name)]
    )
    return FileSummary(
        path=table.url,
        format=table.format,
        file_bytes=size,
        trees=trees,
        tree=table.name,
        entries=table.entries,
        profile=_profile(table),
        collections=_collections(plain, columns),
        columns=columns,
        unreadable_columns=tuple(ColumnSummary(name=name, type=of) for name, of in opaque.items()),
        identity=_identity(plain, Identity.of({**plain.columns, **plain.hidden})),
    )


def _profile(table: AliasedTable) -> ProfileSummary | None:
    profile = table.profile
    aliases = {name: alias.text for name, alias in table.aliases.items()}
    if profile is None:
        return ProfileSummary(name="", about="", aliases=aliases) if aliases else None
    return ProfileSummary(name=profile.format, about=profile.about, aliases=aliases, lacks=profile.lacks)


def stem_of(column: str) -> str:
    """Return the collection of a column: `Jet` for `Jet_pt`, `Jet` for `Jet.PT`; empty for a name of one part."""
    return column.rpartition(".")[0] if "." in column else column.partition("_")[0] if "_" in column else ""


def _collections(table: Table, columns: tuple[ColumnSummary, ...]) -> tuple[CollectionSummary, ...]:
    grouped: dict[str, list[ColumnSummary]] = {}
    for column in columns:
        if column.name not in table.hidden:  # counters describe the layout
            grouped.setdefault(stem_of(column.name), []).append(column)
    lists = {}
    for stem, members in grouped.items():
        named = [column.name for column in members if _LIST_OF_NUMBERS.fullmatch(column.type)]
        if named and stem:
            lists[stem] = named[0]
    events = min(table.entries, _COUNTED_EVENTS)
    counts: dict[str, float] = {}
    if events:
        with contextlib.suppress(UnreadableFileError):  # damage is reported on reading the column
            data = read_checked(table, list(lists.values()), 0, events)
            counts = {stem: float(ak.count(data[name])) / events for stem, name in lists.items()}
    return tuple(
        CollectionSummary(
            name=stem,
            columns=len(members),
            per_event=counts.get(stem),
            compressed_bytes=_total(column.compressed_bytes for column in members),
        )
        for stem, members in grouped.items()
    )


def _total(sizes: Iterable[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return sum(known) if known else None


def _tree(table: Table, kind: str) -> TreeSummary:
    names = [*table.columns, *table.hidden, *table.opaque]
    named = ", ".join(names[:_NAMED_COLUMNS]) + (", ..." if len(names) > _NAMED_COLUMNS else "")
    return TreeSummary(
        name=table.name, kind=kind, entries=table.entries, columns=len(names), first_columns=named
    )


def _identity(table: Table, identity: Identity) -> IdentitySummary:
    run, block, event = identity.sources
    ranges, gaps = _ranges(table, identity) if table.entries and identity.reads else ({}, {})
    made_up = identity.synthesised
    return IdentitySummary(
        run=run,
        luminosity_block=block,
        event=event,
        synthesised=made_up,
        run_range=None if "run" in made_up else ranges.get("run"),
        luminosity_block_range=None if "luminosityBlock" in made_up else ranges.get("luminosityBlock"),
        event_range=None if "event" in made_up else ranges.get("event"),
        missing=gaps,
    )


def _ranges(table: Table, identity: Identity) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    """Return the smallest and largest value of each part of the identity, and the number of events without it."""
    ranges: dict[str, tuple[int, int]] = {}
    gaps: dict[str, int] = {}
    for start in range(0, table.entries, _STEP):
        data = read_checked(table, identity.reads, start, min(start + _STEP, table.entries))
        for part, source in zip(IDENTITY, identity.sources, strict=True):
            if source is None:
                continue
            values = ak.to_numpy(ak.drop_none(data[source]))
            if len(values) < len(data[source]):
                gaps[part] = gaps.get(part, 0) + len(data[source]) - len(values)
            if len(values):
                low, high = int(values.min()), int(values.max())
                first, last = ranges.get(part, (low, high))
                ranges[part] = (min(low, first), max(high, last))
    return ranges, gaps
