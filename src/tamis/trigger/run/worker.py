"""Process one unit of work, from reading to its committed folder."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa

from tamis._base import DataError, TamisError, now_ns
from tamis.events import (
    IDENTITY,
    BrokenRange,
    ColumnData,
    EventFile,
    Events,
    Frame,
    Intact,
    Jagged,
    columns_of,
    hold_missing,
)
from tamis.events.arrow import array_of_numbers, table_of, with_columns
from tamis.events.lumi_mask import LumiRanges, in_mask
from tamis.trigger.decide import (
    EVENT,
    Decisions,
    Laps,
    Outcome,
    Reason,
    decide_batch,
    decide_single,
    prepare_loop,
)
from tamis.trigger.menu import CompiledMenu
from tamis.trigger.run import parts
from tamis.trigger.run.counters import counters_of, separate_lists
from tamis.trigger.run.documents import (
    Counts,
    PartNotes,
    RunPlan,
    RunUnit,
    UnitResult,
    Unreadable,
    most_frequent,
)
from tamis.trigger.run.kept import Kept, both, debug_columns, kept_columns, stream_columns, take
from tamis.trigger.run.monitored import MONITORED, bytes_of_rows, times_of, write_monitored
from tamis.trigger.run.planning import FILES_OPEN
from tamis.trigger.run.times import (
    TIME_COLUMNS,
    TIME_DECIDING,
    TIME_KEPT,
    TIME_READING,
    TIME_UNIT,
    TIME_WAITING,
    TIME_WRITING,
    summed,
)

UNREADABLE = -1  # in the place of an outcome, of an event whose kept columns could not be read
DEATHS_MOST = 50  # deaths of workers on one unit before the run is given up


@dataclass(frozen=True)
class Read:
    """The data that were read for a unit, and the time that it took."""

    unit: RunUnit
    intact: Intact
    made_up: tuple[str, ...]
    elapsed_ns: int


@dataclass(frozen=True)
class Care:
    """How to process a unit after deaths: event by event with a note of the event in flight, skipping deadly ones."""

    careful: bool = False
    deadly: frozenset[int] = frozenset()  # entries that killed a worker


def after_death(
    plan: RunPlan, out: Path, unit: RunUnit, care: Care, deaths: int, *, careful: bool, cause: str = "killed"
) -> Care:
    """Return how to process a unit again after its worker died for the n-th time; raises after DEATHS_MOST."""
    if deaths > DEATHS_MOST:
        raise TamisError(
            f"workers died {deaths} times ({cause}) on entries {unit.start} to {unit.stop} of {plan.files[unit.file].url}: "
            "more than single events are at fault; completed units are kept, continue with --resume"
        )
    if not care.careful:
        return Care(careful=careful)
    entry = parts.entry_in_flight(out, unit)
    return Care(careful=True, deadly=care.deadly | ({entry} if entry is not None else set()))


class Worker:
    """Processes units, with its models and current input files kept open."""

    def __init__(
        self,
        plan: RunPlan,
        compiled: CompiledMenu,
        out: Path,
        pulse: Any = None,
        held: dict[int, EventFile] | None = None,
    ) -> None:
        """Use opened models and files (`held`); `pulse` is incremented as a heartbeat."""
        self.pulse = pulse
        self.plan, self.compiled, self.out = plan, compiled, out
        self._files = _Files(plan, held)
        self._columns: dict[tuple[int, str], tuple[list[str], tuple[str, ...]]] = {}
        self.counters = counters_of(compiled)
        if plan.mode == "event":
            prepare_loop()

    def read(self, unit: RunUnit) -> Read:
        """Read the columns that decisions need; may be called in another thread than `work`."""
        start = now_ns()
        names = self.compiled.program.reads
        try:
            with self._files.opened(unit.file) as file:
                intact, made_up = (
                    file.read_intact(file.choose(names), unit.start, unit.stop),
                    file.synthesised,
                )
        except DataError as error:  # the file was readable when the run was planned, and is not any more
            broken = BrokenRange(unit.start, unit.stop, str(error))
            intact, made_up = Intact(None, np.empty(0, np.int64), (broken,)), ()
        return Read(unit, intact, made_up, now_ns() - start)

    def work(self, read: Read, care: Care, waited_ns: int = 0) -> UnitResult:
        """Decide the events of a unit, and write and commit its output; `waited_ns` is the time spent waiting for reading."""
        return _UnitWork(self, read, care, waited_ns).commit()

    def kept(self, read: Read, taken: Mapping[str, np.ndarray]) -> dict[str, Kept]:
        """Return the events that each stream keeps; `taken` maps a stream to the entries that it takes.

        Columns that were read for the decision are not read again.
        """
        columns = {}  # of each stream: those that it keeps, and those that its format cannot hold
        for name in taken:
            place = (read.unit.file, name)
            if place not in self._columns:
                with self._files.opened(read.unit.file) as file:
                    self._columns[place] = kept_columns(self.compiled, file, name)
            columns[name] = self._columns[place]
        names_of = {name: [*IDENTITY, *names] for name, (names, _) in columns.items()}
        every = dict.fromkeys(column for names in names_of.values() for column in names)
        intact = read.intact
        assert intact.events is not None  # noqa: S101 - a stream takes only events that were read
        missing = [column for column in every if column not in intact.events]
        known = [column for column in every if column not in missing]
        entries = reduce(np.union1d, taken.values())
        broken: tuple[BrokenRange, ...] = ()
        table = take(table_of(Events(intact.events.array[known])), np.searchsorted(intact.entries, entries))
        if missing:
            first, last = int(entries[0]), int(entries[-1]) + 1
            with self._files.opened(read.unit.file) as file:
                more: Intact | None
                try:
                    more = Intact(file.read(missing, first, last), np.arange(first, last))
                except DataError:
                    more = file.read_intact(missing, first, last) if len(taken) == 1 else None
            if more is None:  # a broken column costs only those streams their events that keep it
                return {name: self.kept(read, {name: rows})[name] for name, rows in taken.items()}
            broken = more.broken
            if more.events is None:
                return {name: Kept(None, more.entries, broken) for name in taken}
            table, entries = both(table, entries, table_of(more.events).select(missing), more.entries)
        return {name: Kept(table.select(names_of[name]), entries, broken, columns[name][1]) for name in taken}

    def close(self) -> None:
        """Close the files that this worker opened."""
        self._files.close()

    def __enter__(self) -> Self:
        """Return the worker."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close files."""
        self.close()


class _Files:
    """The open files of a worker, two because of reading ahead; used by one thread at a time."""

    def __init__(self, plan: RunPlan, held: dict[int, EventFile] | None) -> None:
        self._plan = plan
        self._lock = threading.Lock()
        self._open, self._owned = (held, False) if held is not None else ({}, True)

    @contextmanager
    def opened(self, index: int) -> Iterator[EventFile]:
        with self._lock:
            if index not in self._open:
                while len(self._open) >= FILES_OPEN:
                    self._open.pop(min(self._open)).close()
                self._open[index] = EventFile(
                    self._plan.files[index].url, self._plan.tree, index, self._plan.aliases
                )
            yield self._open[index]

    def close(self) -> None:
        if self._owned:
            for file in self._open.values():
                file.close()
            self._open.clear()


def _masked(read: Read, mask: LumiRanges | None) -> tuple[Read, int]:
    """Return a unit without the events outside a luminosity mask, and their number."""
    intact = read.intact
    if mask is None or intact.events is None:
        return read, 0
    identity = intact.events.identity
    good = in_mask(mask, identity[:, 0], identity[:, 1])
    events = intact.events.select(good) if good.any() else None
    kept = replace(intact, events=events, entries=intact.entries[good])
    return replace(read, intact=kept), int((~good).sum())


class _UnitWork:
    """The processing of one unit."""

    def __init__(self, worker: Worker, read: Read, care: Care, waited_ns: int) -> None:
        self.worker, self.unit, self.care = worker, read.unit, care
        self.program, self.menu = worker.compiled.program, worker.compiled.menu
        self.begin = now_ns()
        self.laps = Laps(worker.pulse)
        self.read, self.masked = _masked(read, worker.plan.lumi_mask)
        self.entries = self.read.intact.entries
        self.events = self.read.intact.events
        self.broken = [
            Unreadable(file=self._file(), start=b.start, stop=b.stop, reason=b.reason)
            for b in read.intact.broken
        ]
        self.monitored = worker.plan.monitor is not None
        self.stored: dict[str, np.ndarray] = {}  # bytes of each event in each stream, if it is monitored
        self.laps.add(TIME_READING, read.elapsed_ns, len(self.entries))
        self.laps.add(TIME_WAITING, waited_ns, len(self.entries))

    def _file(self) -> str:
        return self.worker.plan.files[self.unit.file].url

    def commit(self) -> UnitResult:
        columns, found = self._decide()
        outcome = found.outcome
        self.streams = self._streams_of(found, outcome)
        kept = self._read_kept()
        with parts.unit_folder(self.worker.out, self.unit) as folder:
            start = now_ns()
            lost = self._write_streams(folder, outcome, found, kept)
            outcome = np.where(lost, UNREADABLE, outcome)
            decided = self._decisions(columns, outcome, found)
            decisions = pa.table({name: array_of_numbers(values) for name, values in decided.items()})
            parts.write_part(folder / parts.DECIDED, decisions.filter(~lost) if lost.any() else decisions)
            if self.monitored:
                stored = {name: self.stored.get(name, np.zeros(len(outcome))) for name in self.streams}
                write_monitored(
                    folder / MONITORED, columns, decided, times_of(found, self.program), stored, ~lost
                )
            histograms = self._histograms(columns, found, ~lost)
            self.laps.add(TIME_WRITING, now_ns() - start, len(self.entries))
            self.laps.add(TIME_UNIT, now_ns() - self.begin, len(self.entries))
            result = UnitResult(
                unit=self.unit,
                counts=self._counts(outcome, found),
                unreadable=tuple(self.broken),
                times=summed(self.laps),
                histograms=histograms,
                made_up=self.read.made_up,
                messages=self._messages(outcome, found),
            )
            parts.write_result(folder, result)
        return result

    def _decide(self) -> tuple[dict[str, ColumnData], Decisions]:
        count = len(self.entries)
        if self.events is None:
            return {}, Decisions.empty(0, len(self.program.paths))
        start = now_ns()
        columns = columns_of(self.events)
        self.laps.add(TIME_COLUMNS, now_ns() - start, count)
        if self.care.careful or self.worker.plan.mode == "event":
            found = (
                self._decide_carefully(columns)
                if self.care.careful
                else decide_single(self.program, columns, count, self.laps, each_step=self.monitored)
            )
            self.laps.add(TIME_DECIDING, self.laps.total_ns.get(EVENT, 0), count)
            return columns, found
        start = now_ns()
        size = self.program.micro_batch
        frame = Frame(columns, count)
        pieces = []
        for a in range(0, count, size):
            b = min(count, a + size)
            cut = {name: frame.rows(a, b)[name] for name in columns} if (a, b) != (0, count) else columns
            pieces.append(decide_batch(self.program, cut, b - a, self.laps, each_step=self.monitored))
        self.laps.add(TIME_DECIDING, now_ns() - start, count)
        return columns, Decisions.joined(pieces) if pieces else Decisions.empty(0, len(self.program.paths))

    def _decide_carefully(self, columns: dict[str, ColumnData]) -> Decisions:
        note = parts.note_of(self.worker.out, self.unit)
        note.parent.mkdir(parents=True, exist_ok=True)
        with note.open("wb", buffering=0) as handle:

            def before(row: int) -> bool:
                entry = int(self.entries[row])
                os.pwrite(handle.fileno(), entry.to_bytes(8, "little", signed=True), 0)
                return entry in self.care.deadly

            return decide_single(
                self.program, columns, len(self.entries), self.laps, before=before, each_step=self.monitored
            )

    def _streams_of(self, found: Decisions, outcome: np.ndarray) -> dict[str, np.ndarray]:
        """Return a mask of the events of each stream."""
        index = {name: i for i, name in enumerate(self.program.paths)}
        accepted = outcome == Outcome.ACCEPTED
        streams = {
            name: accepted & found.paths[:, [index[path] for path in spec.paths]].any(axis=1)
            for name, spec in self.menu.streams.items()
        }
        streams[parts.DEBUG] = outcome == Outcome.DEBUG
        return streams

    def _read_kept(self) -> dict[str, Kept]:
        taken = {name: self.entries[mask] for name, mask in self.streams.items() if mask.any()}
        if not taken:
            return {}
        start = now_ns()
        kept = self.worker.kept(self.read, taken)
        self.laps.add(TIME_KEPT, now_ns() - start, len(self.entries))
        return kept

    def _write_streams(
        self, folder: Path, outcome: np.ndarray, found: Decisions, kept: dict[str, Kept]
    ) -> np.ndarray:
        """Write the events of each stream; return a mask of those with kept columns that could not be read."""
        lost = np.zeros(len(outcome), bool)
        for name, part_of in kept.items():
            if not part_of.broken:
                continue
            unreadable = self.streams[name] & ~np.isin(self.entries, part_of.entries) & ~lost
            lost |= unreadable
            for part in part_of.broken:
                inside = (self.entries >= part.start) & (self.entries < part.stop)
                self._record_unreadable(self.entries[unreadable & inside], part.reason)
        for name, mask in self.streams.items():
            rows = np.flatnonzero(mask & ~lost)
            if not len(rows):
                continue
            added = (
                debug_columns(self.program, found, rows, self._file(), self.entries[rows])
                if name == parts.DEBUG
                else stream_columns(self.program, found, rows)
            )
            table = with_columns(kept[name].rows(self.entries[rows]), added)
            if self.monitored:
                self.stored[name] = np.zeros(len(outcome))
                self.stored[name][rows] = bytes_of_rows(table)
            notes = PartNotes(
                added=tuple(column for column in found.added if column in added),
                alone=separate_lists(table, self.worker.counters),
                left_out=kept[name].left_out,
            )
            parts.write_part(folder / parts.stream_file(name), table, notes)
        return lost

    def _record_unreadable(self, entries: np.ndarray, reason: str) -> None:
        for entry in entries.tolist():
            if self.broken and self.broken[-1].stop == entry and self.broken[-1].reason == reason:
                last = self.broken.pop()
                self.broken.append(last.model_copy(update={"stop": entry + 1}))
            else:
                self.broken.append(Unreadable(file=self._file(), start=entry, stop=entry + 1, reason=reason))

    def _decisions(
        self, columns: dict[str, ColumnData], outcome: np.ndarray, found: Decisions
    ) -> dict[str, np.ndarray]:
        identity = {
            name: np.asarray(columns[name]) if columns else np.empty(0, np.uint64)
            for name in ("run", "luminosityBlock", "event")
        }
        return {
            **{
                name: column.astype(np.int64 if name != "event" else np.uint64)
                for name, column in identity.items()
            },
            "file": np.full(len(outcome), self.unit.file, np.int32),
            "entry": self.entries.astype(np.int64),
            "outcome": outcome.astype(np.int8),
            "reason": found.reason,
            **{f"HLT_{path}": found.paths[:, i] for i, path in enumerate(self.program.paths)},
        }

    def _messages(self, outcome: np.ndarray, found: Decisions) -> dict[str, int]:
        """Return the reasons of the events in debug with the step that gave each, and the number of their events."""
        labels = [operation.label for operation in self.program.operations]
        messages: Counter[str] = Counter()
        for event, message in found.message.items():
            if outcome[event] == Outcome.DEBUG:
                step = int(found.stage[event])
                messages[f"{labels[step]}: {message}" if step >= 0 else message] += 1
        return most_frequent(messages)

    def _counts(self, outcome: np.ndarray, found: Decisions) -> Counts:
        fine = outcome == Outcome.ACCEPTED
        return Counts(
            entered=self.unit.stop - self.unit.start,
            accepted=int(fine.sum()),
            rejected=int((outcome == Outcome.REJECTED).sum()),
            debug=int((outcome == Outcome.DEBUG).sum()),
            unreadable=sum(b.stop - b.start for b in self.broken),
            masked=self.masked,
            paths={path: int((found.paths[:, i] & fine).sum()) for i, path in enumerate(self.program.paths)},
            streams={name: int((mask & (outcome >= 0)).sum()) for name, mask in self.streams.items()},
            reasons={
                Reason(code).name.lower(): int(count)
                for code, count in enumerate(
                    np.bincount(found.reason[outcome == Outcome.DEBUG], minlength=len(Reason))
                )
                if code and count
            },
        )

    def _histograms(
        self, columns: dict[str, ColumnData], found: Decisions, rows: np.ndarray
    ) -> dict[str, tuple[int, ...]]:
        if not self.menu.histograms or not len(rows):
            return {}
        every = {**columns, **found.added}
        used = {name for expression in self.program.histograms.values() for name in expression.reads}
        may_miss = hold_missing(column for name, column in every.items() if name in used)
        frame = Frame(every, len(rows), may_miss=may_miss)
        filled = {}
        for name, expression in self.program.histograms.items():
            spec = self.menu.histograms[name]
            if not all(column in frame for column in expression.reads):
                continue  # no event of this unit reached the stage
            value, _ = expression.quantity(frame)
            computed = rows.copy()
            for column in expression.reads:
                computed &= found.computed.get(column, True)
            flat = value.take(np.flatnonzero(computed)).flat if isinstance(value, Jagged) else value[computed]
            flat = flat[np.isfinite(flat)]
            inner, _ = np.histogram(flat, spec.bins, (spec.low, spec.high))
            filled[name] = (int((flat < spec.low).sum()), *map(int, inner), int((flat > spec.high).sum()))
        return filled
