"""Long work: a bar on a terminal, silence in a pipe, no Ctrl-C lost in either, and processes that exit with their parent.

Python drops a KeyboardInterrupt that is raised inside a finaliser or a tracing callback. `interruptible` notes each one and raises it at
the next check.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
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


def processes_with(modules: Sequence[str]) -> ForkServerContext:
    """Return a multiprocessing context whose processes start with these modules loaded.

    The server process starts loading at the first call, so call this early. Processes inherit neither the environment nor the state
    of the caller: send them what they need.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    forkserver.ensure_running()
    return context


def end_with_parent() -> None:
    """Exit this process when its parent exits, even in the middle of a computation."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
