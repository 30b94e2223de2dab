"""Progress of long work: a bar on a terminal, silence in a pipe, and no Ctrl-C lost in either."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from quickbeam._base.interrupt import interruptible

Advance = Callable[[int], None]


@contextlib.contextmanager
def progress(label: str, total: int | None, unit: str = "") -> Iterator[Advance]:
    """Yield a function that advances the bar by a number of steps."""
    console = Console(stderr=True)
    with contextlib.ExitStack() as stack:
        check = stack.enter_context(interruptible())
        show = stack.enter_context(_bar(console, label, total, unit)) if console.is_terminal else None

        def advance(steps: int) -> None:
            check()
            if show is not None:
                show(steps)

        yield advance


@contextlib.contextmanager
def _bar(console: Console, label: str, total: int | None, unit: str) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda steps: bar.advance(task, steps)
