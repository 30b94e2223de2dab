"""One event after the other through the steps of a menu: in C where a compiler is at hand, else in Python; both do the same."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from time import perf_counter_ns
from typing import Any, NamedTuple, Protocol

import numpy as np

from tamis._base import TamisError
from tamis.cbuild import find_compiler, load_module
from tamis.events import Frame

MOST_PATHS = 63  # that the bits of a machine's number tell apart

Limit = tuple[int, int]  # a path, its budget in nanoseconds


class Step(NamedTuple):
    """An operation, laid out for the loop."""

    mask: int  # the paths that want it
    run: Callable[[Frame, int], bool]  # does it for an event, and tells whether a condition is passed
    limits: tuple[Limit, ...]


Take = Callable[[int], Frame]  # the frame of an event
Keep = Callable[[int, Frame], object]  # called with what is accepted
Fault = Callable[
    [int, int, Exception | None], object
]  # event, step, and what it raised; None where `Before` said no
Before = Callable[[int], bool]  # tells whether an event is deadly


class Loop(Protocol):
    """What takes one event after the other through the steps."""

    def run(
        self, wanted: list[int], take: Take, keep: Keep, fault: Fault, before: Before | None, pulse: Any
    ) -> list[int]:
        """Return the paths that accept each event, of those that want it; `pulse.value` is counted up with every event."""

    def times(self) -> tuple[bytes, bytes, bytes]:
        """Return times as they fell, in int64: of steps (nanoseconds * steps + step), of taking events up, and of events."""


def open_loop(
    steps: Sequence[Step], budget_ns: int, spent: np.ndarray, over: Callable[[int], object], paths: int
) -> Loop:
    """Return the loop for some steps.

    `spent` takes the nanoseconds of each event as doubles; `over` is called where the time of a path is over (-1: that of the
    event), and has to raise.
    """
    kind = _compiled() if paths <= MOST_PATHS else None
    made: Loop = (kind or PlainLoop)(steps=list(steps), budget=budget_ns, spent=spent, over=over)
    return made


@cache
def _compiled() -> type | None:
    try:
        compiler = find_compiler()
    except TamisError:
        return None
    code = (files("tamis.trigger.decide") / "loop.c").read_text(encoding="utf-8")
    module = load_module(compiler, "tamis_loop", code)
    return None if module is None else module.Loop


class PlainLoop:
    """The loop in Python: it touches ten times as much memory as the other one."""

    def __init__(
        self, steps: list[Step], budget: int, spent: np.ndarray, over: Callable[[int], object]
    ) -> None:
        """Begin with no times."""
        self._steps = [(at, *step) for at, step in enumerate(steps)]
        self._budget, self._spent, self._over = budget, spent, over
        self._at = 0
        self._booked, self._setups, self._wholes = array("q"), array("q"), array("q")

    def run(
        self, wanted: list[int], take: Take, keep: Keep, fault: Fault, before: Before | None, pulse: Any
    ) -> list[int]:
        """Return the paths that accept each event."""
        clock, accepted, frame = perf_counter_ns, [0] * len(wanted), None
        for event, alive in enumerate(wanted):
            begin = clock()
            if before is not None and before(event):
                fault(event, -1, None)
                continue
            if pulse is not None:
                pulse.value += 1
            start = clock()
            frame = take(event)  # and the event before is let go
            self._setups.append(clock() - start)
            try:
                accepted[event] = self._decide(frame, alive, event)
            except Exception as error:  # noqa: BLE001 - whatever a stage raises: no event is lost by it
                fault(event, self._at, error)
            if accepted[event]:
                keep(event, frame)
            self._wholes.append(clock() - begin)
        return accepted

    def _decide(self, frame: Frame, alive: int, event: int) -> int:
        """Return the paths that accept an event."""
        spent = at = start = 0
        on_paths: dict[int, int] = {}
        clock, book, many, budget = perf_counter_ns, self._booked.append, len(self._steps), self._budget
        try:
            for at, mask, run, limits in self._steps:
                if alive & mask:
                    start = clock()
                    passed = run(frame, event)
                    elapsed = clock() - start
                    book(elapsed * many + at)
                    start = 0
                    spent += elapsed
                    if not passed:
                        alive &= ~mask
                    if limits or spent > budget:
                        self._check(limits, alive, on_paths, elapsed, spent)
        except BaseException:
            if start:
                book((clock() - start) * many + at)
            raise
        finally:
            self._at = at
            self._spent[event] = spent
        return alive

    def _check(
        self, limits: tuple[Limit, ...], alive: int, on_paths: dict[int, int], elapsed: int, spent: int
    ) -> None:
        """Book a time on the paths that wanted it."""
        if spent > self._budget:
            self._over(-1)
        for path, limit in limits:
            if alive >> path & 1:
                on_paths[path] = on_paths.get(path, 0) + elapsed
                if on_paths[path] > limit:
                    self._over(path)

    def times(self) -> tuple[bytes, bytes, bytes]:
        """Return all times."""
        return self._booked.tobytes(), self._setups.tobytes(), self._wholes.tobytes()
