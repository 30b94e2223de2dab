"""Rows of one class, read from event files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tamis._base import DataError, progress
from tamis.events import Aliases, EventReader, Frame, of_file, read_events
from tamis.features import Feature, InputRows, columns_read, explain_missing_columns, frame_of, input_rows
from tamis.zoo.data.stores import SparseRows, concatenate_stores, take_rows
from tamis.zoo.networks.description import Store

EVENTS_AT_ONCE = 50  # limits the memory of images before they are made sparse

Keep = Callable[[Frame, InputRows], np.ndarray]  # returns the indices of the rows to keep


@dataclass(frozen=True)
class ReadOptions:
    """How event files are read."""

    most: int | None = None  # rows of each class
    tree: str | None = None
    skip_bad_files: bool = False
    aliases: Aliases | None = None  # names for columns of the files


@dataclass(frozen=True)
class ClassRows:
    """Inputs, the running number of each row's event, quantities of each row, and the files that they come from."""

    inputs: dict[str, Store]
    event: np.ndarray
    about: dict[str, np.ndarray]
    events: int
    files: tuple[str, ...]
    skipped: tuple[str, ...]  # files that could not be read completely

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.event)

    def take(self, rows: np.ndarray) -> ClassRows:
        """Return the rows with these indices."""
        inputs = {name: take_rows(store, rows) for name, store in self.inputs.items()}
        about = {name: values[rows] for name, values in self.about.items()}
        return ClassRows(inputs, self.event[rows], about, self.events, self.files, self.skipped)


@dataclass(frozen=True)
class RowSelection:
    """Columns to read besides those of the features, and the rows to keep."""

    name: str  # of the class
    reads: tuple[str, ...] = ()
    optional: tuple[
        str, ...
    ] = ()  # columns of the rows' jets or events, kept in `about` if the files have them
    keep: Keep | None = None
    sparse: bool = False


def read_class(
    features: Mapping[str, Feature], files: Sequence[str], selection: RowSelection, options: ReadOptions
) -> ClassRows:
    """Read rows from event files, and check that inputs are finite; files without events raise `DataError`."""
    reader = read_events(
        files,
        columns=tuple(dict.fromkeys((*columns_read(features), *selection.reads))),
        optional=selection.optional,
        tree=options.tree,
        aliases=options.aliases,
        skip_bad_files=options.skip_bad_files,
    )
    parts: list[ClassRows] = []
    rows = events = 0
    with (
        explain_missing_columns(features),
        progress(f"reading {selection.name}", reader.count(), "events") as advance,
    ):
        for part in _parts(features, reader, selection):
            parts.append(part)
            rows, events = rows + len(part), events + part.events
            advance(part.events)
            if options.most is not None and rows >= options.most:
                break
    skipped = tuple(entry.reason for entry in reader.skipped)
    names = tuple(map(str, reader.files))
    if not parts:
        reasons = "".join(f"; {reason}" for reason in skipped)
        raise DataError(f"no events of {selection.name} in {', '.join(names)}{reasons}")
    starts = np.cumsum([0, *(part.events for part in parts)])
    whole = ClassRows(
        {name: concatenate_stores([part.inputs[name] for part in parts]) for name in features},
        np.concatenate([part.event + start for part, start in zip(parts, starts, strict=False)]),
        {
            name: np.concatenate([part.about[name] for part in parts])
            for name in parts[0].about
            if all(name in part.about for part in parts)
        },
        events,
        names,
        skipped,
    )
    return whole if options.most is None or rows <= options.most else whole.take(np.arange(options.most))


def _parts(
    features: Mapping[str, Feature], reader: EventReader, selection: RowSelection
) -> Iterator[ClassRows]:
    for chunk in reader:
        with of_file(chunk.file):
            more = (*selection.reads, *(name for name in selection.optional if name in chunk.events))
            batch = frame_of(features, chunk.events, more)
        for start in range(0, len(batch), EVENTS_AT_ONCE):
            frame = batch.rows(start, min(start + EVENTS_AT_ONCE, len(batch)))
            with of_file(chunk.file):
                yield _part(features, frame, selection)


def _part(features: Mapping[str, Feature], frame: Frame, selection: RowSelection) -> ClassRows:
    rows = input_rows(features, frame)
    about = {
        **rows.about,
        **{name: rows.take(frame, name) for name in selection.optional if name in frame},
    }
    kept = np.arange(len(rows)) if selection.keep is None else selection.keep(frame, rows)
    if rows.empty is not None:
        kept = kept[~rows.empty[kept]]
    inputs: dict[str, Store] = {}
    for name, values in rows.inputs.items():
        chosen = values[kept]
        bad = ~np.isfinite(chosen).reshape(len(chosen), -1).all(axis=1) if len(chosen) else np.zeros(0, bool)
        if bad.any():
            event = frame.named(int(rows.event[kept][bad.argmax()]))
            raise DataError(
                f"{name} of class {selection.name} holds NaN or infinity in event {event}: leave it out"
            )
        inputs[name] = SparseRows.of(chosen) if selection.sparse else chosen
    kept_about = {name: values[kept] for name, values in about.items()}
    return ClassRows(inputs, rows.event[kept], kept_about, len(frame), (), ())
