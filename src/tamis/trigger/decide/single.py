"""Deciding event by event: one event in flight, every event timed.

What stands between the operations is the framework's own cost, paid for every event, and after a model has run it is
paid from cold caches: hence the small loop of `loop`, in C where that can be; times are laid down as they fall, and sorted
when the events are done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NoReturn

import numpy as np

from tamis.events import ColumnData, Frame
from tamis.trigger.decide.collected import Collected
from tamis.trigger.decide.decisions import Decisions, Reason
from tamis.trigger.decide.faults import not_finite, told
from tamis.trigger.decide.laps import Laps
from tamis.trigger.decide.loop import Loop, Step, open_loop
from tamis.trigger.decide.prescale import looked_at
from tamis.trigger.menu import Operation, Program, told_ns
from tamis.trigger.stages import Stage, per_event

# the labels under which the whole of an event is booked, and taking it up and letting it go
EVENT, SETUP = "event", "event setup"
_ENDLESS = 1 << 62


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
    collected = Collected(program)
    steps = [_step(program, operation, collected) for operation in program.operations]
    budget = program.budget_ns or _ENDLESS
    loop = open_loop(steps, budget, found.spent_ns, partial(_time_out, program), len(program.paths))
    wanted = _bits(looked_at(program, Frame(columns, events)))

    def take(event: int) -> Frame:
        return Frame(columns, 1, slice(event, event + 1))

    def fault(event: int, at: int, error: Exception | None) -> None:
        if error is None:
            found.fault(event, Reason.DIED, -1, "the process that decided this event died or hung")
        elif isinstance(error, _Fault):
            found.fault(event, error.reason, at, error.message)
        else:
            found.fault(event, Reason.RAISED, at, told(error))

    with np.errstate(all="ignore"):
        accepted = loop.run(wanted, take, collected.keep, fault, before, laps.pulse)
    _book(program, laps, loop)
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


def _book(program: Program, laps: Laps, loop: Loop) -> None:
    """Sort the times of steps by step, and hand all to `laps`."""
    many = len(program.operations)
    steps, setups, wholes = (np.frombuffer(times, np.int64) for times in loop.times())
    elapsed, at = np.divmod(steps, max(1, many))
    order = np.argsort(
        at.astype(np.min_scalar_type(many)), kind="stable"
    )  # small numbers are sorted by counting
    ends = np.searchsorted(at[order], np.arange(many + 1))
    elapsed = elapsed[order]
    for index, operation in enumerate(program.operations):
        laps.add_each(operation.label, elapsed[ends[index] : ends[index + 1]])
    laps.add_each(SETUP, setups)
    laps.add_each(EVENT, wholes)


def _time_out(program: Program, path: int) -> NoReturn:
    """End an event where its time is over, or that of a path."""
    budget = program.budget_ns if path < 0 else program.budgets_ns[path]
    whose = "for the event" if path < 0 else f"on the path {program.paths[path]}"
    raise _Fault(Reason.TIME_OUT, f"more than {told_ns(budget or 0)} {whose}")


def _step(program: Program, operation: Operation, collected: Collected) -> Step:
    stage = operation.stage
    run = _condition(operation) if stage is None else _computation(stage, operation.drops, collected)
    budgets = ((path, program.budgets_ns[path]) for path in operation.paths)
    return Step(operation.mask, run, tuple((path, budget) for path, budget in budgets if budget is not None))


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
