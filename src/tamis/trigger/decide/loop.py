"""Run the steps of a menu on one event after the other: in C if a compiler is available, else in Python, with equal results."""

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

MOST_PATHS = 63  # as bits of an int64

Limit = tuple[int, int]  # a path, its budget in nanoseconds


class LoopStep(NamedTuple):
    """An operation in the form that the loop runs."""

    mask: int  # bits of the paths that need it
    run: Callable[[Frame, int], bool]  # runs it for an event; returns whether the condition holds
    limits: tuple[Limit, ...]


Take = Callable[[int], Frame]  # returns the frame of an event
Keep = Callable[[int, Frame], object]  # called with accepted events
Fault = Callable[
    [int, int, Exception | None], object
]  # event, step, exception; None if `Before` returned true
Before = Callable[[int], bool]  # returns whether an event is to be skipped as deadly


class EventLoop(Protocol):
    """Runs the steps of a menu on one event after the other."""

    def run(
        self, examined: list[int], take: Take, keep: Keep, fault: Fault, before: Before | None, pulse: Any
    ) -> list[int]:
        """Return the bits of the paths that accept each event, given those that examine it.

        `pulse.value` is incremented with every event, as a heartbeat.
        """

    def times(self) -> tuple[bytes, bytes, bytes]:
        """Return times in order, as int64: of steps (nanoseconds * steps + step), of creating frames, and of whole events."""


def open_loop(
    steps: Sequence[LoopStep], budget_ns: int, spent: np.ndarray, over: Callable[[int], object], paths: int
) -> EventLoop:
    """Return a loop over some steps, compiled if possible.

    It writes the nanoseconds of each event to `spent` (doubles), and calls `over` with a path whose budget is exceeded
    (-1: that of the event), which must raise.
    """
    kind = _compiled() if paths <= MOST_PATHS else None
    loop: EventLoop = (kind or PlainLoop)(steps=list(steps), budget=budget_ns, spent=spent, over=over)
    return loop


def prepare_loop() -> None:
    """Compile the loop, or load it from the cache, before the first event instead of in front of it."""
    _compiled()


@cache
def _compiled() -> type | None:
    try:
        compiler = find_compiler()
    except TamisError:
        return None
    code = (files("tamis.trigger.decide") / "loop.c").read_text(encoding="utf-8")
    fallback = "events are decided by a slower loop in Python, which touches ten times as much memory"
    module = load_module(compiler, "tamis_loop", code, fallback=fallback)
    return None if module is None else module.EventLoop


class PlainLoop:
    """The loop in Python, for hosts without a compiler: it touches ten times as much memory as the compiled one."""

    def __init__(
        self, steps: list[LoopStep], budget: int, spent: np.ndarray, over: Callable[[int], object]
    ) -> None:
        """Start without times."""
        self._steps = [(at, *step) for at, step in enumerate(steps)]
        self._budget, self._spent, self._over = budget, spent, over
        self._at = 0
        self._booked, self._setups, self._wholes = array("q"), array("q"), array("q")

    def run(
        self, examined: list[int], take: Take, keep: Keep, fault: Fault, before: Before | None, pulse: Any
    ) -> list[int]:
        """Return the bits of the paths that accept each event."""
        clock, accepted, frame = perf_counter_ns, [0] * len(examined), None
        for event, alive in enumerate(examined):
            begin = clock()
            if before is not None and before(event):
                fault(event, -1, None)
                continue
            if pulse is not None:
                pulse.value += 1
            start = clock()
            frame = take(event)  # which releases the event before
            self._setups.append(clock() - start)
            try:
                accepted[event] = self._decide(frame, alive, event)
            except Exception as error:  # noqa: BLE001 - no exception of a stage may lose an event
                fault(event, self._at, error)
            if accepted[event]:
                keep(event, frame)
            self._wholes.append(clock() - begin)
        return accepted

    def _decide(self, frame: Frame, alive: int, event: int) -> int:
        """Return the bits of the paths that accept an event."""
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
                elapsed = clock() - start
                book(elapsed * many + at)
                spent += elapsed
            raise
        finally:
            self._at = at
            self._spent[event] = spent
        return alive

    def _check(
        self, limits: tuple[Limit, ...], alive: int, on_paths: dict[int, int], elapsed: int, spent: int
    ) -> None:
        """Add a time to the paths that needed it, and check their budgets."""
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
