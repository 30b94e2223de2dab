"""Progress of long work: a bar on a terminal, silence in a pipe, and no Ctrl-C lost in either.

Python drops a KeyboardInterrupt that is raised inside a finaliser or a tracing callback. `interruptible` notes each one and raises it at
the next check.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

Advance = Callable[[int], None]

_pressed = threading.Event()


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Yield a check to call between steps of long work; it raises a KeyboardInterrupt that Python dropped."""
    handles_signal = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if handles_signal:
        signal.signal(signal.SIGINT, _note)
    try:
        yield _check
    finally:
        if handles_signal:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            _pressed.clear()


def _note(number: int, frame: FrameType | None) -> None:
    _pressed.set()
    signal.default_int_handler(number, frame)


def _check() -> None:
    if _pressed.is_set() and threading.current_thread() is threading.main_thread():
        _pressed.clear()
        raise KeyboardInterrupt


@contextlib.contextmanager
def progress(label: str, total: int | None, unit: str = "") -> Iterator[Advance]:
    """Yield a function that advances a progress bar by a number of steps."""
    with contextlib.ExitStack() as stack:
        check = stack.enter_context(interruptible())
        show = stack.enter_context(_bar(label, total, unit)) if sys.stderr.isatty() else None

        def advance(steps: int) -> None:
            check()
            if show is not None:
                show(steps)

        yield advance


@contextlib.contextmanager
def _bar(label: str, total: int | None, unit: str) -> Iterator[Advance]:
    from rich.console import Console  # imported here: loading it takes 50 ms
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda steps: bar.advance(task, steps)
