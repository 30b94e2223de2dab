"""Deciding event by event: one event in flight, every event timed.

What stands between the steps is the framework's own cost, paid for every event: hence one flat loop, and no call
that is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter_ns
from typing import NamedTuple

import numpy as np

from quickbeam.events import ColumnData, Frame, Jagged
from quickbeam.trigger.decide.decisions import Decisions, Reason
from quickbeam.trigger.decide.faults import not_finite, told
from quickbeam.trigger.decide.laps import Laps
from quickbeam.trigger.decide.prescale import looked_at
from quickbeam.trigger.decide.scatter import scatter
from quickbeam.trigger.menu import Operation, Program, told_ns
from quickbeam.trigger.stages import Expression, Stage, per_event

# the labels under which the whole of an event is booked, and taking it up and letting it go
EVENT, SETUP = "event", "event setup"


class _Fault(Exception):  # noqa: N818 - no error: it ends the work on an event
    def __init__(self, reason: Reason, message: str) -> None:
        self.reason, self.message = reason, message


class _Step(NamedTuple):
    """An operation, laid out for the loop."""

    mask: int
    stage: Stage | None
    expression: Expression | None
    label: str
    limits: tuple[tuple[int, int], ...]  # path, and its budget
    drops: tuple[str, ...]
    times: list[int]


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
    steps = [_step(program, operation) for operation in program.operations]
    wanted = _bits(looked_at(program, Frame(columns, events)))
    kept = _Kept(program)
    whole: list[int] = []
    setup: list[int] = []
    accepted = [0] * events
    with np.errstate(all="ignore"):
        for event in range(events):
            begin = perf_counter_ns()
            if before is not None and before(event):
                found.fault(event, Reason.DIED, -1, "the process that decided this event died or hung")
                continue
            if laps.pulse is not None:
                laps.pulse.value += 1
            start = perf_counter_ns()
            frame = Frame(columns, 1, slice(event, event + 1))  # and the event before is let go
            setup.append(perf_counter_ns() - start)
            alive = _decide(program, steps, frame, wanted[event], found, event)
            kept.take(event, frame, all_of_it=bool(alive or found.reason[event]))
            accepted[event] = alive
            whole.append(perf_counter_ns() - begin)
    for step in steps:
        laps.add_each(step.label, step.times)
    laps.add_each(SETUP, setup)
    laps.add_each(EVENT, whole)
    for path in range(len(program.paths)):
        found.paths[:, path] = [alive >> path & 1 for alive in accepted]
    found.added = kept.columns(events)
    return found


def _step(program: Program, operation: Operation) -> _Step:
    budgets = ((path, program.budgets_ns[path]) for path in operation.paths)
    limits = tuple((path, budget) for path, budget in budgets if budget is not None)
    return _Step(
        operation.mask, operation.stage, operation.expression, operation.label, limits, operation.drops, []
    )


def _bits(wanted: np.ndarray) -> list[int]:
    """Return the paths that look at each event, as bits of one number."""
    if wanted.all():
        return [(1 << wanted.shape[1]) - 1] * len(wanted)
    packed = np.packbits(wanted, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def _decide(
    program: Program, steps: list[_Step], frame: Frame, alive: int, found: Decisions, event: int
) -> int:
    """Take one event through the program; return the paths that accept it."""
    spent, budget = 0, program.budget_ns
    on_paths: dict[int, int] = {}
    at, start, times = 0, 0, steps[0].times
    clock = perf_counter_ns
    try:
        for at, step in enumerate(steps):  # noqa: B007 - told in a fault
            if not alive & step.mask:
                continue
            times = step.times
            start = clock()
            passed, undecided = _run(step, frame)
            elapsed = clock() - start
            times.append(elapsed)
            spent += elapsed
            if not passed:
                alive &= ~step.mask
            if (undecided is not None and undecided[0]) or (budget is not None and spent > budget):
                _fault(step, undecided, budget)
            if step.limits:
                _check_paths(program, step, alive, on_paths, elapsed)
    except _Fault as fault:
        found.fault(event, fault.reason, at, fault.message)
        alive = 0
    except Exception as error:  # noqa: BLE001 - whatever a stage raises: no event is lost by it
        times.append(clock() - start)
        found.fault(event, Reason.RAISED, at, told(error))
        alive = 0
    found.spent_ns[event] = spent
    return alive


def _run(step: _Step, frame: Frame) -> tuple[bool, np.ndarray | None]:
    """Do one operation: tell whether a condition is passed, and whether it met a NaN."""
    stage = step.stage
    if stage is None:
        value, undecided = step.expression.evaluate(frame)  # type: ignore[union-attr] # an operation has one of both
        return bool(value[0]) if type(value) is np.ndarray else _refuse(step, value), undecided
    added, undecided = stage.run(frame)
    frame.add_all(added)
    if step.drops:
        frame.drop(step.drops)
    if stage.finite and not_finite(stage, added) is not None:
        raise _Fault(Reason.NOT_FINITE, f"the stage {stage.name} gave NaN or infinity")
    return True, undecided


def _refuse(step: _Step, value: ColumnData) -> bool:
    assert step.expression is not None  # noqa: S101 - it has just been evaluated
    return bool(per_event(step.expression, value)[0])


def _fault(step: _Step, undecided: np.ndarray | None, budget: int | None) -> None:
    if undecided is not None and undecided[0]:
        raise _Fault(Reason.UNDECIDED, f"{step.label}: a comparison met NaN")
    raise _Fault(Reason.TIME_OUT, f"more than {told_ns(budget or 0)} for the event")


def _check_paths(program: Program, step: _Step, alive: int, on_paths: dict[int, int], elapsed: int) -> None:
    """Book a time on the paths that wanted it, and end the event where the time of one is over."""
    for path, limit in step.limits:
        if alive >> path & 1:
            on_paths[path] = on_paths.get(path, 0) + elapsed
            if on_paths[path] > limit:
                name = program.paths[path]
                raise _Fault(Reason.TIME_OUT, f"more than {told_ns(limit)} on the path {name}")


class _Kept:
    """What stages added and somebody wants: histograms of every event, streams of those that they take."""

    def __init__(self, program: Program) -> None:
        stages = [
            op.stage for op in program.operations if op.stage is not None and op.stage.kind != "features"
        ]
        self.watched = program.watched
        self.every = tuple(name for stage in stages for name in stage.adds)
        self.found: dict[str, tuple[list[int], list[ColumnData]]] = {}

    def take(self, event: int, frame: Frame, *, all_of_it: bool) -> None:
        for name in self.every if all_of_it else self.watched:
            column = frame.added(name)
            if column is not None:
                if name not in self.found:
                    self.found[name] = ([], [])
                rows, parts = self.found[name]
                rows.append(event)
                parts.append(column)

    def columns(self, events: int) -> dict[str, ColumnData]:
        return {
            name: scatter(events, [(np.array(rows), _joined(parts))])
            for name, (rows, parts) in self.found.items()
        }


def _joined(parts: list[ColumnData]) -> ColumnData:
    if isinstance(parts[0], Jagged):
        lists = [part.flat for part in parts if isinstance(part, Jagged)]
        offsets = np.zeros(len(lists) + 1, np.int64)
        np.cumsum([len(flat) for flat in lists], out=offsets[1:])
        return Jagged(offsets, np.concatenate(lists))
    return np.concatenate([part for part in parts if isinstance(part, np.ndarray)])
