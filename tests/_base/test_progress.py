"""Ctrl-C is never lost, even where Python drops the exception."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from tamis._base import interruptible

# In a subprocess: libraries that other tests load may install a SIGINT handler of their own, below Python's.
DROPPED = """
import os, signal, sys
from tamis._base import interruptible, progress

class Pressed:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass  # the handler runs between two bytecodes

dropped = []
sys.unraisablehook = lambda event: dropped.append(event.exc_type)
with {context} as step:
    Pressed()
    assert dropped == [KeyboardInterrupt]
    try:
        step({arguments})
    except KeyboardInterrupt:
        print("raised")
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


@pytest.mark.parametrize(
    ("context", "arguments"),
    [("interruptible()", ""), ("progress('work', 2)", "1")],
    ids=["check", "progress"],
)
def test_an_interrupt_dropped_in_a_finaliser_is_raised_at_the_next_step(context, arguments):
    code = DROPPED.format(context=context, arguments=arguments)
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout) == (0, "raised\n"), finished.stderr


DELIVERED = """
import signal
from tamis._base import interruptible

try:
    with interruptible():
        signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("raised")
with interruptible() as check:
    check()
"""


def test_an_interrupt_that_was_delivered_is_not_raised_again():
    finished = subprocess.run([sys.executable, "-c", DELIVERED], capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout) == (0, "raised\n"), finished.stderr


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
