"""The rows that event files hold of one class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tamis._base import DataError, progress
from tamis.events import EventReader, Frame, of_file, read_events
from tamis.features import Feature, InputRows, columns_read, frame_read, input_rows, telling_needs
from tamis.zoo.data.stores import SparseRows, Store, joined, take
from tamis.zoo.networks.classifiers import Reading

EVENTS_AT_ONCE = 50  # frames are large: so many events' rows are in memory as they are

Keep = Callable[[Frame, InputRows], np.ndarray]  # the rows to keep


@dataclass(frozen=True)
class ClassRows:
    """The inputs, the running number of each row's event, what is told about the row, and where all of it is from."""

    inputs: dict[str, Store]
    event: np.ndarray
    about: dict[str, np.ndarray]
    events: int
    files: tuple[str, ...]
    skipped: tuple[str, ...]  # files that could not be read, at least in part

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.event)

    def take(self, rows: np.ndarray) -> ClassRows:
        """Return some rows."""
        inputs = {name: take(store, rows) for name, store in self.inputs.items()}
        about = {name: values[rows] for name, values in self.about.items()}
        return ClassRows(inputs, self.event[rows], about, self.events, self.files, self.skipped)


@dataclass(frozen=True)
class Wanted:
    """What to read: which columns besides those of the features, and which rows to keep, and how."""

    name: str
    reads: tuple[str, ...] = ()
    extra: tuple[
        str, ...
    ] = ()  # columns of the rows' jets or events to tell with them, as far as files have them
    keep: Keep | None = None
    sparse: bool = False


def read_class(
    features: Mapping[str, Feature], files: Sequence[str], wanted: Wanted, reading: Reading
) -> ClassRows:
    """Read rows from event files, at most so many, and check that they are numbers; no row at all is told."""
    reader = read_events(
        files,
        columns=tuple(dict.fromkeys((*columns_read(features), *wanted.reads))),
        optional=wanted.extra,
        tree=reading.tree,
        skip_bad_files=reading.skip_bad_files,
    )
    parts: list[ClassRows] = []
    found = done = 0
    with telling_needs(features), progress(f"reading {wanted.name}", reader.count(), "events") as advance:
        for part in _parts(features, reader, wanted):
            parts.append(part)
            found, done = found + len(part), done + part.events
            advance(part.events)
            if reading.most is not None and found >= reading.most:
                break
    skipped = tuple(entry.reason for entry in reader.skipped)
    files = tuple(map(str, reader.files))
    if not parts:
        told = "".join(f"; {entry}" for entry in skipped)
        raise DataError(f"no events of {wanted.name} in {', '.join(files)}{told}")
    starts = np.cumsum([0, *(part.events for part in parts)])
    whole = ClassRows(
        {name: joined([part.inputs[name] for part in parts]) for name in features},
        np.concatenate([part.event + start for part, start in zip(parts, starts, strict=False)]),
        {
            name: np.concatenate([part.about[name] for part in parts])
            for name in parts[0].about
            if all(name in part.about for part in parts)
        },
        done,
        files,
        skipped,
    )
    return whole.take(np.arange(reading.most)) if reading.most is not None and found > reading.most else whole


def _parts(features: Mapping[str, Feature], reader: EventReader, wanted: Wanted) -> Iterator[ClassRows]:
    for chunk in reader:
        with of_file(chunk.file):
            more = (*wanted.reads, *(name for name in wanted.extra if name in chunk.events))
            whole = frame_read(features, chunk.events, more)
        for start in range(0, len(whole), EVENTS_AT_ONCE):
            frame = whole.rows(start, min(start + EVENTS_AT_ONCE, len(whole)))
            with of_file(chunk.file):
                yield _part(features, frame, wanted)


def _part(features: Mapping[str, Feature], frame: Frame, wanted: Wanted) -> ClassRows:
    rows = input_rows(features, frame)
    about = {**rows.about, **{name: rows.take(frame, name) for name in wanted.extra if name in frame}}
    kept = np.arange(len(rows)) if wanted.keep is None else wanted.keep(frame, rows)
    inputs: dict[str, Store] = {}
    for name, values in rows.inputs.items():
        chosen = values[kept]
        bad = ~np.isfinite(chosen).reshape(len(chosen), -1).all(axis=1) if len(chosen) else np.zeros(0, bool)
        if bad.any():
            event = frame.named(int(rows.event[kept][bad.argmax()]))
            raise DataError(
                f"{name} of class {wanted.name} holds NaN or infinity in event {event}: leave it out"
            )
        inputs[name] = SparseRows.of(chosen) if wanted.sparse else chosen
    told = {name: values[kept] for name, values in about.items()}
    return ClassRows(inputs, rows.event[kept], told, len(frame), (), ())
