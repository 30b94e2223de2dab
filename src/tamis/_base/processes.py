"""Processes that begin with their libraries loaded, forked from one that does nothing else, and end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Sequence
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext


def processes_with(modules: Sequence[str]) -> ForkServerContext:
    """Return how to start processes that have modules loaded; to ask for it early is to have them sooner.

    They have the environment and the state of no caller: what they need is sent to them.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    forkserver.ensure_running()
    return context


def end_with_parent() -> None:
    """Let this process end when the one that asked for it is gone, even if what it does never ends."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
