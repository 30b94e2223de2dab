"""What became of events: exactly one of accepted, rejected and debug, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from tamis.events import ColumnData
from tamis.trigger.decide.scatter import scatter


class Reason(IntEnum):
    """Why an event is in the debug stream; 0 where it is not."""

    NONE = 0
    RAISED = 1  # a stage raised an exception, or broke its contract
    NOT_FINITE = 2  # a score is NaN or infinite
    UNDECIDED = 3  # a condition met a NaN: it is neither true nor false
    TIME_OUT = 4  # the time of the event or of a path ran out
    DIED = 5  # the process that decided it died or hung, again and again


class Outcome(IntEnum):
    """Through which door an event left."""

    REJECTED = 0
    ACCEPTED = 1
    DEBUG = 2


@dataclass
class Decisions:
    """The decisions on a batch of events."""

    paths: np.ndarray  # (events, paths), true where a path accepts
    reason: np.ndarray  # Reason of every event
    stage: np.ndarray  # the operation that sent it to debug, -1 where none did
    spent_ns: np.ndarray  # time in stages and conditions of every event
    message: dict[int, str] = field(default_factory=dict)
    added: Mapping[str, ColumnData] = field(default_factory=dict)
    computed: Mapping[str, np.ndarray] = field(
        default_factory=dict
    )  # of each such column: for which events it was

    @classmethod
    def empty(cls, events: int, paths: int) -> Decisions:
        """Return decisions on events that nothing has looked at."""
        return cls(
            np.zeros((events, paths), bool),
            np.zeros(events, np.int8),
            np.full(events, -1, np.int16),
            np.zeros(events, np.float64),
        )

    @classmethod
    def joined(cls, pieces: Sequence[Decisions]) -> Decisions:
        """Return the decisions on batches that follow each other."""
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
                int(start) + event: told
                for start, piece in zip(starts, pieces, strict=False)
                for event, told in piece.message.items()
            },
            added,
            computed,
        )

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.reason)

    @property
    def outcome(self) -> np.ndarray:
        """Return the door of every event: debug goes before accepted."""
        outcome = np.asarray(self.paths.any(axis=1), np.int8)  # rejected is 0, accepted 1
        outcome[self.reason != Reason.NONE] = Outcome.DEBUG
        return outcome

    def fault(self, event: int, reason: Reason, operation: int, message: str) -> None:
        """Send an event to debug; the first reason stands."""
        if self.reason[event] == Reason.NONE:
            self.reason[event], self.stage[event] = reason, operation
            self.message[event] = message
