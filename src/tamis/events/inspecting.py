"""Summarise a file of events or arrays; beyond its headers only the identity of the events is read."""

from __future__ import annotations

import contextlib
from pathlib import Path

import awkward as ak
import numpy as np
from pydantic import Field

from tamis._base import Document, UnreadableFileError
from tamis.events.arrays import open_arrays
from tamis.events.batch import IDENTITY
from tamis.events.failures import reading
from tamis.events.identity import Identity
from tamis.events.locate import is_url, sniff
from tamis.events.reading import open_table, read_checked
from tamis.events.table import Table

_STEP = 1_000_000
_NAMED_COLUMNS = 6  # in the short form of a tree


class ColumnSummary(Document):
    """A column: name, awkward type (or why it cannot be read), and its bytes, where the file records them."""

    name: str
    type: str
    compressed_bytes: int | None = None
    uncompressed_bytes: int | None = None


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
    columns: tuple[ColumnSummary, ...] = ()
    unreadable_columns: tuple[ColumnSummary, ...] = ()
    identity: IdentitySummary | None = None
    datasets: tuple[DatasetSummary, ...] = ()


def inspect_file(path: str | Path, *, tree: str | None = None) -> FileSummary:
    """Summarise a ROOT, Parquet, HDF5 or NumPy file."""
    url = str(path)
    kind = sniff(url)
    size = None if is_url(url) else Path(url).stat().st_size
    if kind in {"root", "parquet"}:
        return _events(url, kind, size, tree)
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


def _events(url: str, kind: str, size: int | None, tree: str | None) -> FileSummary:
    trees: tuple[TreeSummary, ...] = ()
    if kind == "root":
        trees, default = _trees(url)
        tree = tree or default
        if len(trees) > 1 and tree is None:
            return FileSummary(path=url, format="ROOT", file_bytes=size, trees=trees)
    with contextlib.closing(open_table(url, tree)) as table:
        identity = Identity.of({**table.columns, **table.hidden})
        opaque = dict(table.opaque)
        with contextlib.suppress(UnreadableFileError):  # damage is reported on reading the column
            opaque |= table.unsupported(list(table.columns))
        known = {name: of for name, of in {**table.columns, **table.hidden}.items() if name not in opaque}
        return FileSummary(
            path=url,
            format=table.format,
            file_bytes=size,
            trees=trees or (_tree(table, table.format),),
            tree=table.name,
            entries=table.entries,
            columns=tuple(
                ColumnSummary(name=name, type=of, compressed_bytes=packed, uncompressed_bytes=unpacked)
                for name, of in known.items()
                for packed, unpacked in [table.sizes(name)]
            ),
            unreadable_columns=tuple(ColumnSummary(name=name, type=of) for name, of in opaque.items()),
            identity=_identity(table, identity),
        )


def _trees(url: str) -> tuple[tuple[TreeSummary, ...], str | None]:
    """Return the trees of a ROOT file, and the one that is read by default."""
    from tamis.events.root import ROOT_ERRORS, default_tree, open_file, open_tree, trees_of

    with contextlib.closing(open_file(url)) as file:
        kinds = trees_of(file, url)
        found = []
        for name, kind in kinds.items():
            with reading(url, *ROOT_ERRORS):
                found.append(_tree(open_tree(file, url, name, kind), kind))
        return tuple(found), default_tree(kinds)


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
