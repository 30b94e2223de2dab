"""Deciding event by event: one event in flight, every event timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from quickbeam._base import now_ns
from quickbeam.events import ColumnData, Frame, Jagged
from quickbeam.trigger.decide.decisions import Decisions, Reason
from quickbeam.trigger.decide.faults import not_finite, told
from quickbeam.trigger.decide.laps import Laps
from quickbeam.trigger.decide.prescale import looked_at
from quickbeam.trigger.decide.scatter import scatter
from quickbeam.trigger.menu import Operation, Program, told_ns

EVENT = "event"  # the label under which the whole of an event is booked


class _Fault(Exception):  # noqa: N818 - no error: it ends the work on an event
    def __init__(self, reason: Reason, message: str) -> None:
        self.reason, self.message = reason, message


def decide_single(
    program: Program,
    columns: Mapping[str, ColumnData],
    events: int,
    laps: Laps,
    *,
    before: Callable[[int], bool] | None = None,
) -> Decisions:
    """Decide events one after the other; `before` is told of each, and says whether it is deadly."""
    found = Decisions.empty(events, len(program.paths))
    wanted = looked_at(program, Frame(columns, events))
    pieces: dict[str, tuple[list[int], list[ColumnData]]] = {}
    operations = [(index, op, op.mask) for index, op in enumerate(program.operations)]
    bits = [1 << index for index in range(len(program.paths))]
    every = sum(bits)
    watched = frozenset(program.watched)
    scaled = any(prescale > 1 for prescale in program.prescales)
    for event in range(events):
        begin = now_ns()
        if before is not None and before(event):
            found.fault(event, Reason.DIED, -1, "the process that decided this event died or hung")
            continue
        frame = Frame(columns, 1, slice(event, event + 1))
        alive = sum(bit for bit, on in zip(bits, wanted[event], strict=True) if on) if scaled else every
        state = _Event(program, frame, laps, alive)
        at = -1
        try:
            for at, operation, mask in operations:  # noqa: B007 - told where the work ended
                if state.alive & mask:
                    state.step(operation, mask)
        except _Fault as fault:
            found.fault(event, fault.reason, at, fault.message)
            state.alive = 0
        if state.alive:
            found.paths[event] = [bool(state.alive & bit) for bit in bits]
        elif not found.reason[event]:  # of rejected events only what histograms want is kept
            state.added = [entry for entry in state.added if entry[0] in watched]
        for name, column in state.added:
            rows, parts = pieces.setdefault(name, ([], []))
            rows.append(event)
            parts.append(column)
        found.spent_ns[event] = state.spent
        laps.add(EVENT, now_ns() - begin, 1)
    found.added = {
        name: scatter(events, [_joined(np.array(rows), parts)]) for name, (rows, parts) in pieces.items()
    }
    return found


class _Event:
    """One event on its way through the program."""

    __slots__ = ("added", "alive", "frame", "laps", "path_ns", "program", "spent")

    def __init__(self, program: Program, frame: Frame, laps: Laps, alive: int) -> None:
        self.program, self.frame, self.laps, self.alive = program, frame, laps, alive
        self.added: list[tuple[str, ColumnData]] = []
        self.spent = 0
        self.path_ns: dict[int, int] = {}

    def step(self, operation: Operation, mask: int) -> None:
        start = now_ns()
        stage = operation.stage
        try:
            if stage is None:
                passed, undecided = operation.expression(self.frame)  # type: ignore[misc] # conditions have one
            else:
                added = stage.run(self.frame)
                undecided = added.undecided
        except Exception as error:
            self._spend(operation, now_ns() - start)
            raise _Fault(Reason.RAISED, told(error)) from error
        elapsed = now_ns() - start
        if stage is not None:
            for name in stage.adds:
                column = added.columns[name]
                self.frame.add(name, column)
                if stage.kind != "features":
                    self.added.append((name, column))
            if stage.finite and not_finite(stage, added) is not None:
                self._spend(operation, elapsed)
                raise _Fault(Reason.NOT_FINITE, f"the stage {stage.name} gave NaN or infinity")
        elif not passed[0]:
            self.alive &= ~mask
        self._spend(operation, elapsed)
        if undecided is not None and undecided[0]:
            at = "" if stage is not None else f"{operation.label}: "
            raise _Fault(Reason.UNDECIDED, f"{at}a comparison met NaN")
        self._check_time(operation, elapsed)

    def _spend(self, operation: Operation, elapsed: int) -> None:
        self.laps.add(operation.label, elapsed, 1)
        self.spent += elapsed

    def _check_time(self, operation: Operation, elapsed: int) -> None:
        budget = self.program.budget_ns
        if budget is not None and self.spent > budget:
            raise _Fault(Reason.TIME_OUT, f"more than {told_ns(budget)} for the event")
        for path in operation.paths:
            limit = self.program.budgets_ns[path]
            if limit is not None and self.alive >> path & 1:
                self.path_ns[path] = self.path_ns.get(path, 0) + elapsed
                if self.path_ns[path] > limit:
                    name = self.program.paths[path]
                    raise _Fault(Reason.TIME_OUT, f"more than {told_ns(limit)} on the path {name}")


def _joined(rows: np.ndarray, parts: list[ColumnData]) -> tuple[np.ndarray, ColumnData]:
    if isinstance(parts[0], Jagged):
        lists = [part for part in parts if isinstance(part, Jagged)]
        offsets = np.zeros(len(lists) + 1, np.int64)
        np.cumsum([len(part.flat) for part in lists], out=offsets[1:])
        return rows, Jagged(offsets, np.concatenate([part.flat for part in lists]))
    return rows, np.concatenate([part for part in parts if isinstance(part, np.ndarray)])
