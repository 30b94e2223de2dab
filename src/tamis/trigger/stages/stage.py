"""The seam of the trigger: a stage declares what it reads and what it adds, and never changes what it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tamis._base import DataError, UsageError
from tamis.events import ColumnData, Frame, Jagged

NUMBERS = "biuf"  # kinds of numpy: truths, whole numbers, floats


class Added(NamedTuple):
    """What a stage adds, one entry per event; and the events that a NaN left undecided."""

    columns: Mapping[str, ColumnData]
    undecided: np.ndarray | None = None


@dataclass(frozen=True)
class Stage:
    """A step of computation. `run` maps some events to new columns, each event by itself."""

    name: str
    kind: str  # what its time is booked as: features, model, filter, python
    reads: tuple[str, ...]
    adds: tuple[str, ...]
    run: Callable[[Frame], Added]
    finite: tuple[str, ...] = ()  # columns in which a NaN or infinity is a fault
    facts: Mapping[str, str] | None = None  # provenance: checksums, versions
    close: Callable[[], None] | None = None
    row_bytes: int = 0  # of one row of a model's input


@dataclass(frozen=True)
class UserStage:
    """A function that declares what it reads and adds: what `@stage` makes."""

    function: Callable[..., Mapping[str, Any]]
    reads: tuple[str, ...]
    adds: tuple[str, ...]

    def __call__(self, *arguments: Any, **named: Any) -> Mapping[str, Any]:
        """Call the function itself."""
        return self.function(*arguments, **named)


def stage(
    *, reads: tuple[str, ...] | list[str], adds: tuple[str, ...] | list[str]
) -> Callable[[Callable[..., Mapping[str, Any]]], UserStage]:
    """Declare a stage: the function gets a `Frame` of the columns it reads, and returns the columns it adds."""
    for what, names in (("reads", reads), ("adds", adds)):
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise UsageError(f"{what} of a stage is a list of column names, not {names!r}")
    if not adds:
        raise UsageError("a stage has to add at least one column: a filter adds one of true and false")
    return lambda function: UserStage(function, tuple(reads), tuple(adds))


def of_user(name: str, user: UserStage) -> Stage:
    """Wrap a user's stage: it sees what it declared, read-only, and has to return what it declared."""

    def run(frame: Frame) -> Added:
        given = {column: read_only(frame[column]) for column in user.reads}
        found = user.function(Frame(given, len(frame)))
        return Added(checked(name, user.adds, found, len(frame)))

    return Stage(name, "python", user.reads, user.adds, run)


def checked(name: str, adds: tuple[str, ...], found: object, events: int) -> dict[str, ColumnData]:
    """Return the columns that a stage added, or say how they break its contract."""
    if not isinstance(found, Mapping) or set(found) != set(adds):
        told = (
            f"returned {sorted(found)}" if isinstance(found, Mapping) else f"returned {type(found).__name__}"
        )
        raise DataError(f"the stage {name} declares that it adds {sorted(adds)}, but it {told}")
    columns = {column: _column(name, column, found[column]) for column in adds}
    for column, data in columns.items():
        if len(data) != events:
            raise DataError(
                f"the stage {name} returned {len(data)} entries of {column!r} for {events} events: one per event is due"
            )
    return columns


def _column(name: str, column: str, data: object) -> ColumnData:
    if isinstance(data, Jagged):
        if data.values.dtype.kind not in NUMBERS:
            raise DataError(
                f"the stage {name} returned {column!r} as lists of {data.values.dtype}: a list holds numbers"
            )
        return data
    if type(data).__module__.startswith("awkward."):
        from tamis.events import plain_column

        return plain_column(column, data)
    array = np.asarray(data)
    if array.ndim == 0 or array.dtype.kind not in NUMBERS:
        raise DataError(
            f"the stage {name} returned {column!r} as {type(data).__name__} of {array.dtype}: "
            "a column is an array of numbers with one entry per event, or a list per event (Jagged or awkward)"
        )
    return array


def read_only(column: ColumnData) -> ColumnData:
    """Return a view that cannot be written to."""
    if isinstance(column, Jagged):
        return Jagged(_frozen(column.offsets), _frozen(column.values))
    return _frozen(column)


def _frozen(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view
