"""Child processes that start fast, forked from a server process that has modules loaded, and exit with their parent."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Sequence
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext


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
