"""Ctrl-C is never lost, even where Python drops the exception."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from tamis._base import interruptible, progress


class Pressed:
    """Sends SIGINT from a finaliser, where Python drops exceptions."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass  # the handler runs between two bytecodes


@pytest.fixture
def dropped(monkeypatch):
    """Collect the exceptions that Python drops, instead of failing the test."""
    seen = []
    monkeypatch.setattr("sys.unraisablehook", seen.append)
    return seen


def press():
    Pressed()  # finalised at once, since nothing refers to it; a full collection crashes in objects that torch left behind


def test_a_dropped_interrupt_is_raised_at_the_next_step(dropped):
    with interruptible() as check:
        check()
        press()
        assert [event.exc_type for event in dropped] == [KeyboardInterrupt]
        with pytest.raises(KeyboardInterrupt):
            check()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_progress_raises_a_dropped_interrupt(dropped):
    with progress("work", 2) as advance:
        press()
        assert dropped
        with pytest.raises(KeyboardInterrupt):
            advance(1)


def test_an_interrupt_that_was_delivered_is_not_raised_again(dropped):
    with interruptible() as check, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with interruptible() as check:
        check()
    assert not dropped


def test_foreign_handlers_and_other_threads_are_left_alone():
    def mine(number, frame):
        del number, frame

    before = signal.signal(signal.SIGINT, mine)
    try:
        with interruptible() as check:
            assert signal.getsignal(signal.SIGINT) is mine
            check()
    finally:
        signal.signal(signal.SIGINT, before)
    handlers = []

    def work():
        with interruptible() as check:
            check()
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [before]
