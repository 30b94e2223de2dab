"""Ctrl-C that cannot be lost: Python drops a KeyboardInterrupt that is raised in a finaliser or in a tracer's callback."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_pressed = threading.Event()


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Yield a check to call between steps of long work; it raises the KeyboardInterrupt that was dropped, if one was."""
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, _note)
    try:
        yield _check
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            _pressed.clear()


def _note(number: int, frame: FrameType | None) -> None:
    _pressed.set()
    signal.default_int_handler(number, frame)


def _check() -> None:
    if _pressed.is_set() and threading.current_thread() is threading.main_thread():
        _pressed.clear()
        raise KeyboardInterrupt
