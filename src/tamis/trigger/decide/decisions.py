"""The events that each path examines, and the outcome of every event: accepted, rejected or debug, with the reason."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from tamis.events import ColumnData, Frame, Jagged, is_missing
from tamis.trigger.decide.scatter import scatter
from tamis.trigger.menu import MenuProgram
from tamis.trigger.stages import Stage

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


class Reason(IntEnum):
    """Why an event went to the debug stream; NONE if it did not."""

    NONE = 0
    RAISED = 1  # a stage raised an exception, or broke its contract
    NOT_FINITE = 2  # a score is NaN or infinite
    UNDECIDED = 3  # a condition compared with NaN: neither true nor false
    TIME_OUT = 4  # the event exceeded the time budget of the menu or of a path
    DIED = 5  # the process that decided it died or hung repeatedly


class Outcome(IntEnum):
    """The outcome of an event."""

    REJECTED = 0
    ACCEPTED = 1
    DEBUG = 2


@dataclass
class Decisions:
    """The decisions on a batch of events."""

    paths: np.ndarray  # (events, paths), true where a path accepts
    reason: np.ndarray  # Reason of every event
    stage: np.ndarray  # the operation that sent it to debug, -1 where none did
    spent_ns: np.ndarray  # time of every event in stages and conditions
    message: dict[int, str] = field(default_factory=dict)
    added: Mapping[str, ColumnData] = field(default_factory=dict)
    computed: Mapping[str, np.ndarray] = field(default_factory=dict)  # masks of the events that have `added`
    step_ns: np.ndarray | None = (
        None  # (events, operations), whose sum is `spent_ns`; None unless it was asked for
    )

    @classmethod
    def empty(cls, events: int, paths: int) -> Decisions:
        """Return decisions of events that are undecided so far."""
        return cls(
            np.zeros((events, paths), bool),
            np.zeros(events, np.int8),
            np.full(events, -1, np.int16),
            np.zeros(events, np.float64),
        )

    @classmethod
    def joined(cls, pieces: Sequence[Decisions]) -> Decisions:
        """Concatenate the decisions of consecutive batches."""
        starts = np.cumsum([0, *map(len, pieces)])
        names = dict.fromkeys(name for piece in pieces for name in piece.added)
        added = {
            name: scatter(
                int(starts[-1]),
                [
                    (np.arange(start, start + len(piece)), piece.added[name])
                    for start, piece in zip(starts, pieces, strict=False)
                    if name in piece.added
                ],
            )
            for name in names
        }
        computed = {
            name: np.concatenate([piece.computed.get(name, np.zeros(len(piece), bool)) for piece in pieces])
            for name in names
        }
        return cls(
            np.concatenate([piece.paths for piece in pieces]),
            np.concatenate([piece.reason for piece in pieces]),
            np.concatenate([piece.stage for piece in pieces]),
            np.concatenate([piece.spent_ns for piece in pieces]),
            {
                int(start) + event: message
                for start, piece in zip(starts, pieces, strict=False)
                for event, message in piece.message.items()
            },
            added,
            computed,
            _joined_steps(pieces),
        )

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.reason)

    @property
    def outcome(self) -> np.ndarray:
        """Return the outcome of every event; debug overrides accepted."""
        outcome = np.asarray(self.paths.any(axis=1), np.int8)  # rejected is 0, accepted 1
        outcome[self.reason != Reason.NONE] = Outcome.DEBUG
        return outcome

    def fault(self, event: int, reason: Reason, operation: int, message: str) -> None:
        """Send an event to debug; only its first reason is recorded."""
        if self.reason[event] == Reason.NONE:
            self.reason[event], self.stage[event] = reason, operation
            self.message[event] = message


def _joined_steps(pieces: Sequence[Decisions]) -> np.ndarray | None:
    parts = [piece.step_ns for piece in pieces if piece.step_ns is not None]
    return np.concatenate(parts) if parts else None


def not_finite(stage: Stage, added: Mapping[str, ColumnData]) -> np.ndarray | None:
    """Return a mask of the events whose score is NaN or infinite, or None if there are none; missing scores do not count."""
    bad: np.ndarray | None = None
    for name in stage.finite:
        column = added[name]
        values = column.flat if isinstance(column, Jagged) else column
        if values.dtype.kind != "f" or not values.size:
            continue
        total = float(np.add.reduce(values, axis=None))
        if total - total == 0.0:  # the sum is finite, so all values are
            continue
        found: np.ndarray = (np.isfinite(values) | is_missing(values)).reshape(len(values), -1).all(axis=1)
        np.logical_not(found, out=found)
        if not found.any():  # only the sum overflowed
            continue
        if isinstance(column, Jagged):
            owner = np.repeat(np.arange(len(column)), column.counts)
            rows, found = found, np.zeros(len(column), bool)
            found[owner[rows]] = True
        bad = found if bad is None else np.logical_or(bad, found)
    return bad


def prescaled(program: MenuProgram, frame: Frame) -> np.ndarray:
    """Return a mask (events, paths) of the events that each path examines.

    A prescale of n examines one event in n, chosen by a hash of its identity, so that every run and every worker chooses the same.
    """
    examined = np.ones((len(frame), len(program.paths)), bool)
    for index, (path, prescale) in enumerate(zip(program.paths, program.prescales, strict=True)):
        if prescale > 1:
            examined[:, index] = _hash(frame, path) % np.uint64(prescale) == 0
    return examined


def _hash(frame: Frame, path: str) -> np.ndarray:
    """Return 64 well-mixed bits of run, block, event and path (the finaliser of splitmix64)."""
    state = np.full(len(frame), zlib.crc32(path.encode()), np.uint64)
    with np.errstate(over="ignore"):
        for name in ("run", "luminosityBlock", "event"):
            column = frame[name]
            assert isinstance(column, np.ndarray)  # noqa: S101 - the identity is one number per event
            state = (state ^ column.astype(np.uint64)) + _GOLDEN
            state = (state ^ (state >> np.uint64(30))) * _MIX[0]
            state = (state ^ (state >> np.uint64(27))) * _MIX[1]
            state = state ^ (state >> np.uint64(31))
    return state


def one_line(error: BaseException) -> str:
    """Return an error as one line of at most 400 characters."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:400] if text else type(error).__name__
