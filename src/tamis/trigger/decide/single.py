"""Decide event by event: one event in flight, every event timed.

The code between operations runs for every event, and with cold caches after each model. It is therefore small, in C where
a compiler is available (`loop`); times are stored in the order in which they occur, and sorted at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NoReturn

import numpy as np

from tamis.events import ColumnData, Frame, hold_missing
from tamis.trigger.decide.collected import Collected
from tamis.trigger.decide.decisions import Decisions, Reason, not_finite, one_line, prescaled
from tamis.trigger.decide.laps import Laps
from tamis.trigger.decide.loop import EventLoop, LoopStep, open_loop
from tamis.trigger.menu import MenuProgram, Operation, format_ns
from tamis.trigger.stages import Stage, per_event

# labels of the time of a whole event, and of creating its frame and releasing the one before
EVENT, SETUP = "event", "event setup"
_ENDLESS = 1 << 62


class _Fault(Exception):  # noqa: N818 - not an error: it ends the work on an event
    def __init__(self, reason: Reason, message: str) -> None:
        self.reason, self.message = reason, message


def decide_single(
    program: MenuProgram,
    columns: Mapping[str, ColumnData],
    events: int,
    laps: Laps,
    *,
    before: Callable[[int], bool] | None = None,
    each_step: bool = False,
) -> Decisions:
    """Decide events one after the other; `before(event)` is called first and returns whether to skip it as deadly.

    With `each_step`, the decisions have the time of each operation on each event.
    """
    decisions = Decisions.empty(events, len(program.paths))
    collected = Collected(program)
    steps = []
    for operation in program.operations:
        stage = operation.stage
        run = _condition(operation) if stage is None else _computation(stage, operation.drops, collected)
        budgets = ((path, program.budgets_ns[path]) for path in operation.paths)
        limited = tuple((path, budget_ns) for path, budget_ns in budgets if budget_ns is not None)
        steps.append(LoopStep(operation.mask, run, limited))
    budget = program.budget_ns or _ENDLESS
    loop = open_loop(steps, budget, decisions.spent_ns, partial(_time_out, program), len(program.paths))
    may_miss = hold_missing(columns.values())
    mask = prescaled(program, Frame(columns, events))
    if mask.all():  # the paths that examine each event, as bits of an integer
        examined = [(1 << len(program.paths)) - 1] * events
    else:
        examined = [
            int.from_bytes(row.tobytes(), "little") for row in np.packbits(mask, axis=1, bitorder="little")
        ]

    def take(event: int) -> Frame:
        return Frame(columns, 1, slice(event, event + 1), may_miss)

    def fault(event: int, at: int, error: Exception | None) -> None:
        if error is None:
            decisions.fault(event, Reason.DIED, -1, "the process that decided this event died or hung")
        elif isinstance(error, _Fault):
            decisions.fault(event, error.reason, at, error.message)
        else:
            decisions.fault(event, Reason.RAISED, at, one_line(error))

    with np.errstate(all="ignore"):
        accepted = loop.run(examined, take, collected.keep, fault, before, laps.pulse)
    _book(program, laps, loop)
    if each_step:
        decisions.step_ns = _times_of_steps(loop, decisions.spent_ns, len(program.operations))
    width = (len(program.paths) + 7) // 8
    packed = np.frombuffer(b"".join([bits.to_bytes(width, "little") for bits in accepted]), np.uint8)
    flat = np.unpackbits(packed.reshape(events, width), axis=1, count=len(program.paths), bitorder="little")
    decisions.paths = flat.astype(bool)
    decisions.added, decisions.computed = collected.columns(events)
    return decisions


def _book(program: MenuProgram, laps: Laps, loop: EventLoop) -> None:
    """Sort the times by step, and add them to `laps`."""
    many = len(program.operations)
    steps, setups, wholes = (np.frombuffer(times, np.int64) for times in loop.times())
    elapsed, at = np.divmod(steps, max(1, many))
    order = np.argsort(at.astype(np.min_scalar_type(many)), kind="stable")  # a radix sort for 8 and 16 bits
    ends = np.searchsorted(at[order], np.arange(many + 1))
    elapsed = elapsed[order]
    for index, operation in enumerate(program.operations):
        laps.add_each(operation.label, elapsed[ends[index] : ends[index + 1]])
    laps.add_each(SETUP, setups)
    laps.add_each(EVENT, wholes)


def _times_of_steps(loop: EventLoop, spent_ns: np.ndarray, many: int) -> np.ndarray:
    """Return the times of steps by event: they come in order, and those of an event add up to what it spent."""
    elapsed, at = np.divmod(np.frombuffer(loop.times()[0], np.int64), max(1, many))
    event = np.searchsorted(np.cumsum(spent_ns.astype(np.int64)), np.cumsum(elapsed))
    found: np.ndarray = np.zeros((len(spent_ns), many))
    kept = elapsed > 0  # others may be of the next event, and add nothing
    np.add.at(found, (event[kept], at[kept]), elapsed[kept])
    return found


def _time_out(program: MenuProgram, path: int) -> NoReturn:
    """End an event that exceeds its budget, or that of a path (-1: of the event)."""
    budget = program.budget_ns if path < 0 else program.budgets_ns[path]
    where = "" if path < 0 else f" on the path {program.paths[path]}"
    raise _Fault(Reason.TIME_OUT, f"the event took more than {format_ns(budget or 0)}{where}")


def _condition(operation: Operation) -> Callable[[Frame, int], bool]:
    expression = operation.expression
    assert expression is not None  # noqa: S101 - an operation has a stage or an expression
    evaluate = expression.evaluate

    def test(frame: Frame, _: int) -> bool:
        value, undecided = evaluate(frame)
        if undecided is not None and undecided[0]:
            raise _Fault(Reason.UNDECIDED, "a comparison with NaN")
        return bool(per_event(expression, value)[0])

    return test


def _computation(stage: Stage, drops: tuple[str, ...], collected: Collected) -> Callable[[Frame, int], bool]:
    compute, finite, watch = stage.run, bool(stage.finite), collected.watcher(stage)

    def run(frame: Frame, event: int) -> bool:
        added, undecided, may_miss = compute(frame)
        frame.add_all(added)
        if may_miss:
            frame.may_miss = True
        if drops:
            frame.drop(drops)
        if finite and not_finite(stage, added) is not None:
            raise _Fault(Reason.NOT_FINITE, f"the stage {stage.name} returned NaN or infinity")
        if watch is not None:
            watch(event, added)
        if undecided is not None and undecided[0]:
            raise _Fault(Reason.UNDECIDED, "a comparison with NaN")
        return True

    return run
