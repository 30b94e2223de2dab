"""The stage, the extension point of the trigger: it declares the columns that it reads and adds, and never changes its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tamis._base import DataError, UsageError
from tamis.events import ColumnData, Frame, Jagged, hold_missing
from tamis.trigger.stages.kinds import Kind

NUMERIC_KINDS = "biuf"  # numpy's kinds of dtypes: booleans, integers, floats


class Added(NamedTuple):
    """The columns that a stage adds, one entry per event."""

    columns: Mapping[str, ColumnData]
    undecided: np.ndarray | None = None  # a mask of the events with a comparison with NaN
    may_miss: bool = False  # whether the columns have missing values


@dataclass(frozen=True)
class Stage:
    """A step of computation: `run` maps events to new columns, each event independently of the others."""

    name: str
    kind: str  # features, model, filter, tracking or python
    reads: tuple[str, ...]
    adds: tuple[str, ...]
    run: Callable[[Frame], Added]
    finite: tuple[str, ...] = ()  # columns in which a NaN or infinity is a fault
    facts: Mapping[str, str] | None = None  # provenance: checksums, versions
    close: Callable[[], None] | None = None
    row_bytes: int = 0  # bytes of one row of a model's input
    # the kinds of the added columns, from those of columns; raises UsageError for wrong types
    kinds: Callable[[Callable[[str], Kind]], Mapping[str, Kind]] = lambda _: {}


@dataclass(frozen=True)
class UserStage:
    """A function with the columns that it reads and adds, as `@stage` returns it."""

    function: Callable[..., Mapping[str, Any]]
    reads: tuple[str, ...]
    adds: tuple[str, ...]

    def __call__(self, *arguments: Any, **named: Any) -> Mapping[str, Any]:
        """Call the function itself."""
        return self.function(*arguments, **named)


def stage(
    *, reads: tuple[str, ...] | list[str], adds: tuple[str, ...] | list[str]
) -> Callable[[Callable[..., Mapping[str, Any]]], UserStage]:
    """Declare a stage: the function takes a `Frame` of the columns it reads, and returns the columns it adds."""
    for what, names in (("reads", reads), ("adds", adds)):
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise UsageError(f"{what} of a stage must be a list of column names, not {names!r}")
    if not adds:
        raise UsageError("a stage must add at least one column; a filter adds a boolean one")
    return lambda function: UserStage(function, tuple(reads), tuple(adds))


def user_stage(name: str, user: UserStage) -> Stage:
    """Wrap a user's function as a stage that sees its declared columns read-only and must return its declared columns."""

    def run(frame: Frame) -> Added:
        inputs = {column: read_only(frame[column]) for column in user.reads}
        returned = user.function(Frame(inputs, len(frame), may_miss=frame.may_miss))
        columns = checked(name, user.adds, returned, len(frame))
        return Added(columns, may_miss=hold_missing(columns.values()))

    return Stage(name, "python", user.reads, user.adds, run)


def checked(name: str, adds: tuple[str, ...], returned: object, events: int) -> dict[str, ColumnData]:
    """Return the columns that a stage added; raises if they are not those that it declared."""
    if not isinstance(returned, Mapping) or set(returned) != set(adds):
        what = sorted(returned) if isinstance(returned, Mapping) else type(returned).__name__
        raise DataError(f"the stage {name} declares that it adds {sorted(adds)}, but it returned {what}")
    columns = {column: _column(name, column, returned[column]) for column in adds}
    for column, data in columns.items():
        if len(data) != events:
            raise DataError(
                f"the stage {name} returned {len(data)} entries of {column!r} for {events} events: it must return one per event"
            )
    return columns


def _column(name: str, column: str, data: object) -> ColumnData:
    if isinstance(data, Jagged):
        if data.values.dtype.kind not in NUMERIC_KINDS:
            raise DataError(
                f"the stage {name} returned {column!r} as lists of {data.values.dtype}: lists must hold numbers"
            )
        return data
    if type(data).__module__.startswith("awkward."):
        from tamis.events import plain_column

        return plain_column(column, data)
    array = np.asarray(data)
    if array.ndim == 0 or array.dtype.kind not in NUMERIC_KINDS:
        raise DataError(
            f"the stage {name} returned {column!r} as {type(data).__name__} of {array.dtype}: "
            "a column must be an array of numbers with one entry per event, or a list per event (Jagged or awkward)"
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
