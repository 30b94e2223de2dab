"""Deciding event by event: one event in flight, every event timed.

What stands between the operations is the framework's own cost, paid for every event, and after a model has run it is
paid from cold caches: hence one flat loop over plain calls, which touches little memory; numbers are laid down in
order as they fall, and sorted when the events are done.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from time import perf_counter_ns
from typing import NamedTuple

import numpy as np

from quickbeam.events import ColumnData, Frame
from quickbeam.trigger.decide.collected import Collected
from quickbeam.trigger.decide.decisions import Decisions, Reason
from quickbeam.trigger.decide.faults import not_finite, told
from quickbeam.trigger.decide.laps import Laps
from quickbeam.trigger.decide.prescale import looked_at
from quickbeam.trigger.menu import Operation, Program, told_ns
from quickbeam.trigger.stages import Stage, per_event

# the labels under which the whole of an event is booked, and taking it up and letting it go
EVENT, SETUP = "event", "event setup"
_ENDLESS = 1 << 62


class _Fault(Exception):  # noqa: N818 - no error: it ends the work on an event
    def __init__(self, reason: Reason, message: str) -> None:
        self.reason, self.message = reason, message


_Limit = tuple[int, int, str]  # a path, its budget, its name


class _Step(NamedTuple):
    """An operation, laid out for the loop."""

    at: int
    mask: int
    run: Callable[[Frame, int], bool]  # does it for an event, and tells whether a condition is passed
    limits: tuple[_Limit, ...]


class _Times:
    """Nanoseconds as they fall: of operations (with their number, in one figure), of events, of taking them up."""

    def __init__(self, operations: int) -> None:
        self.operations, self.events, self.setups = array("q"), array("q"), array("q")
        self.radix = operations

    def book(self, program: Program, laps: Laps) -> None:
        """Sort the times of operations by operation, and hand all to `laps`."""
        elapsed, at = np.divmod(np.asarray(self.operations), self.radix)
        order = np.argsort(
            at.astype(np.min_scalar_type(self.radix)), kind="stable"
        )  # small numbers are sorted by counting
        ends = np.searchsorted(at[order], np.arange(self.radix + 1))
        elapsed = elapsed[order]
        for index, operation in enumerate(program.operations):
            laps.add_each(operation.label, elapsed[ends[index] : ends[index + 1]])
        laps.add_each(SETUP, np.asarray(self.setups))
        laps.add_each(EVENT, np.asarray(self.events))


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
    collected = Collected(program)
    steps = [_step(program, at, operation, collected) for at, operation in enumerate(program.operations)]
    wanted = _bits(looked_at(program, Frame(columns, events)))
    accepted = [0] * events
    times = _Times(len(steps))
    clock, pulse, decide = perf_counter_ns, laps.pulse, _Event(program, steps, found, times).decide
    with np.errstate(all="ignore"):
        for event in range(events):
            begin = clock()
            if before is not None and before(event):
                found.fault(event, Reason.DIED, -1, "the process that decided this event died or hung")
                continue
            if pulse is not None:
                pulse.value += 1
            start = clock()
            frame = Frame(columns, 1, slice(event, event + 1))  # and the event before is let go
            times.setups.append(clock() - start)
            accepted[event] = alive = decide(frame, wanted[event], event)
            if alive:
                collected.keep(event, frame)
            times.events.append(clock() - begin)
    times.book(program, laps)
    found.paths = _masks(accepted, len(program.paths))
    found.added, found.computed = collected.columns(events)
    return found


def _bits(wanted: np.ndarray) -> list[int]:
    """Return the paths that look at each event, as bits of one number."""
    if wanted.all():
        return [(1 << wanted.shape[1]) - 1] * len(wanted)
    packed = np.packbits(wanted, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def _masks(accepted: list[int], paths: int) -> np.ndarray:
    """Return what such bits mean, as (events, paths)."""
    width = (paths + 7) // 8
    packed = np.frombuffer(b"".join([bits.to_bytes(width, "little") for bits in accepted]), np.uint8)
    flat = np.unpackbits(packed.reshape(len(accepted), width), axis=1, count=paths, bitorder="little")
    return flat.astype(bool)


class _Event:
    """Takes one event after the other through the program."""

    def __init__(self, program: Program, steps: list[_Step], found: Decisions, times: _Times) -> None:
        self.steps, self.found, self.radix = steps, found, times.radix
        self.book, self.spent = times.operations.append, found.spent_ns
        self.budget = program.budget_ns or _ENDLESS

    def decide(self, frame: Frame, alive: int, event: int) -> int:
        """Return the paths that accept an event."""
        spent = at = start = 0
        on_paths: dict[int, int] = {}
        clock, book, radix, budget = perf_counter_ns, self.book, self.radix, self.budget
        try:
            for at, mask, run, limits in self.steps:
                if alive & mask:
                    start = clock()
                    passed = run(frame, event)
                    elapsed = clock() - start
                    book(elapsed * radix + at)
                    spent += elapsed
                    if not passed:
                        alive &= ~mask
                    if limits or spent > budget:
                        self._check_budgets(limits, alive, on_paths, elapsed, spent)
        except _Fault as fault:
            if fault.reason != Reason.TIME_OUT:
                book((clock() - start) * radix + at)
            self.found.fault(event, fault.reason, at, fault.message)
            alive = 0
        except Exception as error:  # noqa: BLE001 - whatever a stage raises: no event is lost by it
            book((clock() - start) * radix + at)
            self.found.fault(event, Reason.RAISED, at, told(error))
            alive = 0
        self.spent[event] = spent
        return alive

    def _check_budgets(
        self, limits: tuple[_Limit, ...], alive: int, on_paths: dict[int, int], elapsed: int, spent: int
    ) -> None:
        """Book a time on the paths that wanted it, and end the event where the time of one, or its own, is over."""
        if spent > self.budget:
            raise _Fault(Reason.TIME_OUT, f"more than {told_ns(self.budget)} for the event")
        for path, limit, name in limits:
            if alive >> path & 1:
                on_paths[path] = on_paths.get(path, 0) + elapsed
                if on_paths[path] > limit:
                    raise _Fault(Reason.TIME_OUT, f"more than {told_ns(limit)} on the path {name}")


def _step(program: Program, at: int, operation: Operation, collected: Collected) -> _Step:
    stage = operation.stage
    run = _condition(operation) if stage is None else _computation(stage, operation.drops, collected)
    budgets = ((path, program.budgets_ns[path], program.paths[path]) for path in operation.paths)
    limits = tuple((path, budget, name) for path, budget, name in budgets if budget is not None)
    return _Step(at, operation.mask, run, limits)


def _condition(operation: Operation) -> Callable[[Frame, int], bool]:
    expression = operation.expression
    assert expression is not None  # noqa: S101 - an operation has a stage or an expression
    evaluate = expression.evaluate

    def test(frame: Frame, _: int) -> bool:
        value, undecided = evaluate(frame)
        if undecided is not None and undecided[0]:
            raise _Fault(Reason.UNDECIDED, f"{operation.label}: a comparison met NaN")
        return bool(per_event(expression, value)[0])

    return test


def _computation(stage: Stage, drops: tuple[str, ...], collected: Collected) -> Callable[[Frame, int], bool]:
    compute, finite, watch = stage.run, bool(stage.finite), collected.watcher(stage)

    def run(frame: Frame, event: int) -> bool:
        added, undecided = compute(frame)
        frame.add_all(added)
        if drops:
            frame.drop(drops)
        if finite and not_finite(stage, added) is not None:
            raise _Fault(Reason.NOT_FINITE, f"the stage {stage.name} gave NaN or infinity")
        if watch is not None:
            watch(event, added)
        if undecided is not None and undecided[0]:
            raise _Fault(Reason.UNDECIDED, f"{stage.name}: a comparison met NaN")
        return True

    return run
