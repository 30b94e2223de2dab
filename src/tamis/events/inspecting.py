"""What is in a file of events or arrays, told without reading more of it than must be."""

from __future__ import annotations

import contextlib
from pathlib import Path

import awkward as ak
import numpy as np
from pydantic import Field

from tamis._base import Document
from tamis.events.arrays import open_arrays
from tamis.events.batch import IDENTITY
from tamis.events.failures import reading
from tamis.events.identity import Identity
from tamis.events.locate import is_url, sniff
from tamis.events.opening import open_table
from tamis.events.reading import read_checked
from tamis.events.table import Table

_STEP = 1_000_000


class ColumnSummary(Document):
    """One column: its name, its awkward type, its bytes in the file and unpacked where the file tells them."""

    name: str
    type: str
    compressed_bytes: int | None = None
    uncompressed_bytes: int | None = None


class TreeSummary(Document):
    """One tree or table of a file."""

    name: str
    kind: str
    entries: int


class IdentitySummary(Document):
    """Where run, luminosity block and event come from (None: made up), the range of each, and how often it is missing."""

    run: str | None
    luminosity_block: str | None
    event: str | None
    synthesised: tuple[str, ...]
    run_range: tuple[int, int] | None = None
    luminosity_block_range: tuple[int, int] | None = None
    event_range: tuple[int, int] | None = None
    missing: dict[str, int] = Field(default_factory=dict)


class DatasetSummary(Document):
    """One array of an HDF5 or NumPy file."""

    name: str
    type: str
    shape: tuple[int, ...]
    compressed_bytes: int | None
    uncompressed_bytes: int


class FileSummary(Document):
    """A file: its format, its trees, and the columns of the tree that holds the events, or its datasets."""

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
    """Say what is in a ROOT, Parquet, HDF5 or NumPy file."""
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
    trees = _trees(url) if kind == "root" else ()
    with contextlib.closing(open_table(url, tree)) as table:
        identity = Identity.of({**table.columns, **table.hidden})
        return FileSummary(
            path=url,
            format=table.format,
            file_bytes=size,
            trees=trees or (TreeSummary(name=table.name, kind=table.format, entries=table.entries),),
            tree=table.name,
            entries=table.entries,
            columns=tuple(_column(table, name, of) for name, of in {**table.columns, **table.hidden}.items()),
            unreadable_columns=tuple(ColumnSummary(name=name, type=of) for name, of in table.opaque.items()),
            identity=_identity(table, identity),
        )


def _trees(url: str) -> tuple[TreeSummary, ...]:
    from tamis.events.root import ROOT_ERRORS, open_file, trees_of

    with contextlib.closing(open_file(url)) as file:
        found = []
        for name, kind in trees_of(file, url).items():
            with reading(url, *ROOT_ERRORS):
                found.append(TreeSummary(name=name, kind=kind, entries=int(file[name].num_entries)))
        return tuple(found)


def _column(table: Table, name: str, kind: str) -> ColumnSummary:
    compressed, uncompressed = table.sizes(name)
    return ColumnSummary(name=name, type=kind, compressed_bytes=compressed, uncompressed_bytes=uncompressed)


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
    """Return the smallest and largest of each part of the identity, and how often it is missing; only its columns are read."""
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
