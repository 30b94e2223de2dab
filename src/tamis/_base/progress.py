"""Progress of long work: a bar on a terminal, silence in a pipe, and no Ctrl-C lost in either."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from tamis._base.interrupt import interruptible

Advance = Callable[[int], None]


@contextlib.contextmanager
def progress(label: str, total: int | None, unit: str = "") -> Iterator[Advance]:
    """Yield a function that advances the bar by a number of steps."""
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
    from rich.console import Console  # only here: loading it takes 50 ms
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
