"""Processes that begin with their libraries loaded: forked from one that has loaded them and does nothing else."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext


def processes_with(modules: Sequence[str]) -> ForkServerContext:
    """Return how to start processes that have modules loaded; to ask for it early is to have them sooner.

    They have the environment and the state of no caller: what they need is sent to them.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    forkserver.ensure_running()
    return context
