"""The loop over the steps of an event behaves the same in C and in Python."""

from __future__ import annotations

import gc
import sys
import sysconfig
import time
import traceback
import weakref
from ctypes import c_int64
from multiprocessing.sharedctypes import RawValue
from pathlib import Path

import numpy as np
import pytest

from tamis._base import TamisError
from tamis.trigger.decide import loop as loops
from tamis.trigger.decide.loop import LoopStep, PlainLoop, open_loop

FOREVER = 1 << 62


def can_compile() -> bool:
    """Return whether this host has a compiler and Python's headers; code that does not compile must fail the tests."""
    try:
        loops.find_compiler()
    except TamisError:
        return False
    return (Path(sysconfig.get_path("include")) / "Python.h").is_file()


CAN_COMPILE = can_compile()


class Over(Exception):  # noqa: N818 - it ends an event
    pass


def over(path):
    raise Over(path)


@pytest.fixture(params=["compiled", "plain"])
def make(request, monkeypatch):
    """Return a function that opens a loop for three paths and ten events."""
    if request.param == "plain":
        monkeypatch.setattr(loops, "_compiled", lambda: None)
    elif not CAN_COMPILE:
        pytest.skip("no compiler, or no headers of Python")

    def made(steps, budget=FOREVER):
        spent = np.full(10, -1.0)
        found = open_loop(steps, budget, spent, over, 3)
        assert isinstance(found, PlainLoop) == (request.param == "plain")
        return found, spent

    return made


def done(loop, steps):
    """Return the steps that were run, in order, and the time of each."""
    elapsed, at = np.divmod(np.frombuffer(loop.times()[0], np.int64), len(steps))
    return at.tolist(), elapsed


def run(loop, wanted, *, take=lambda event: event, keep=lambda event, frame: None, before=None, pulse=None):
    """Return the paths that accept each event, and the faults: (event, step, error)."""
    faults = []
    accepted = loop.run(wanted, take, keep, lambda *what: faults.append(what), before, pulse)
    return accepted, faults


def test_steps_run_for_the_paths_that_need_them_and_conditions_end_paths(make):
    seen, kept = [], []

    def step(number, passed):
        return lambda frame, event: seen.append((number, frame, event)) or passed

    steps = [
        LoopStep(0b111, step(0, True), ()),
        LoopStep(0b010, step(1, False), ()),
        LoopStep(0b010, step(2, True), ()),
        LoopStep(0b101, step(3, True), ()),
    ]
    loop, spent = make(steps)
    wanted = [0b000, 0b011, 0b010]
    accepted, faults = run(loop, wanted, take=lambda event: f"f{event}", keep=lambda *what: kept.append(what))
    assert accepted == [0, 0b001, 0]
    assert not faults
    assert seen == [(0, "f1", 1), (1, "f1", 1), (3, "f1", 1), (0, "f2", 2), (1, "f2", 2)]
    assert kept == [(1, "f1")]
    at, elapsed = done(loop, steps)
    assert at == [0, 1, 3, 0, 1]
    assert (elapsed > 0).all()
    assert spent[:4].tolist() == [0, elapsed[:3].sum(), elapsed[3:].sum(), -1]
    setups, wholes = (np.frombuffer(times, np.int64) for times in loop.times()[1:])
    assert len(setups) == len(wholes) == 3
    assert (wholes >= setups + spent[:3]).all()


def test_an_exception_is_reported_with_its_step_and_the_loop_continues(make):
    def broken(frame, event):
        if event == 1:
            raise ValueError("broken")
        return True

    steps = [LoopStep(1, lambda *_: True, ()), LoopStep(1, broken, ()), LoopStep(1, lambda *_: True, ())]
    loop, spent = make(steps)
    accepted, faults = run(loop, [1, 1, 1])
    assert accepted == [1, 0, 1]
    ((event, step, error),) = faults
    assert (event, step, str(error)) == (1, 1, "broken")
    assert traceback.extract_tb(error.__traceback__)[-1].name == "broken"
    at, elapsed = done(loop, steps)
    assert at == [0, 1, 2, 0, 1, 0, 1, 2]
    assert spent[1] == elapsed[3:5].sum()  # with the step that failed


def test_ctrl_c_ends_the_loop(make):
    def stopped(frame, event):
        raise KeyboardInterrupt

    loop, _ = make([LoopStep(1, stopped, ())])
    with pytest.raises(KeyboardInterrupt):
        run(loop, [1, 1])


def test_deadly_events_are_skipped_and_heartbeats_counted(make):
    pulse = RawValue(c_int64, 5)
    loop, spent = make([LoopStep(1, lambda *_: True, ())])
    accepted, faults = run(loop, [1, 1, 1], before=lambda event: event == 1, pulse=pulse)
    assert accepted == [1, 0, 1]
    assert faults == [(1, -1, None)]
    assert pulse.value == 7
    assert spent[1] == -1
    assert len(loop.times()[2]) == 2 * 8


def test_time_budget_of_an_event_and_of_a_path(make):
    def slow(frame, event):
        return sum(range(20_000)) > 0

    steps = [LoopStep(0b11, slow, ()), LoopStep(0b11, slow, ())]
    loop, _ = make(steps, budget=1)
    accepted, faults = run(loop, [0b11])
    assert accepted == [0]
    assert [(event, step, str(error)) for event, step, error in faults] == [(0, 0, "-1")]
    steps = [LoopStep(0b11, slow, ((0, FOREVER), (1, 1)))]
    loop, _ = make(steps)
    accepted, faults = run(loop, [0b10, 0b01])
    assert accepted == [0, 0b01]
    assert [(event, step, str(error)) for event, step, error in faults] == [(0, 0, "1")]
    assert done(loop, steps)[0] == [0, 0]


def test_the_budget_of_a_path_covers_all_of_its_steps(make):
    def some(frame, event):
        time.sleep(0.01)
        return True

    loop, _ = make([LoopStep(1, some, ((0, 35_000_000),))] * 6)
    accepted, ((_, step, error),) = run(loop, [1])
    assert accepted == [0]
    assert str(error) == "0"
    assert step <= 3  # four steps take at least 40 ms


def test_events_and_loops_are_released(make):
    class Frame:
        pass

    def broken(frame, event):
        if event % 2:
            raise ValueError
        return True

    born = []

    def take(event):
        frame = Frame()
        born.append(weakref.ref(frame))
        return frame

    steps = [LoopStep(1, broken, ())]
    before = sys.getrefcount(broken)
    loop, _ = make(steps)
    loop.run([1] * 10, take, lambda *_: None, lambda *_: None, None, None)
    gc.collect()
    assert [frame() for frame in born] == [None] * 10
    del loop
    gc.collect()
    assert sys.getrefcount(broken) == before


def test_many_times_stay_in_order(make):
    steps = [LoopStep(1, lambda *_: True, ()), LoopStep(1, lambda *_: True, ())]
    loop, _ = make(steps)
    for _ in range(500):
        run(loop, [1] * 10)
    assert done(loop, steps)[0] == [0, 1] * 5000


def test_more_than_63_paths_run_in_python():
    loop = open_loop([LoopStep(1 << 70, lambda *_: True, ())], FOREVER, np.zeros(1), over, 71)
    assert isinstance(loop, PlainLoop)
    assert run(loop, [1 << 70]) == ([1 << 70], [])


@pytest.mark.skipif(not CAN_COMPILE, reason="no compiler, or no headers of Python")
@pytest.mark.parametrize(
    ("wanted", "error"),
    [([1] * 11, ValueError), ([-1], OverflowError), (["1"], TypeError), ((1,), TypeError)],
)
def test_the_compiled_loop_rejects_invalid_arguments(wanted, error):
    loop = open_loop([LoopStep(1, lambda *_: True, ())], FOREVER, np.zeros(10), over, 1)
    with pytest.raises(error):
        run(loop, wanted)


@pytest.mark.parametrize("name", ["take", "keep", "before"])
def test_an_exception_of_the_framework_ends_the_loop(make, name):
    def broken(*_):
        raise RuntimeError(name)

    loop, _ = make([LoopStep(1, lambda *_: True, ())])
    with pytest.raises(RuntimeError, match=name):
        run(loop, [1], **{name: broken})
