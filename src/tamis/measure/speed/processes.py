"""Memory and loading times, each measured in a fresh process: a process keeps memory and caches of all that ran before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tamis._base import TamisError
from tamis.bundle import Bundle
from tamis.measure.speed.roofline import ONE_THREAD
from tamis.records import LoadRow, MemoryRow

PROBE_TIMEOUT_S = 1800


def measure_memory(
    bundle: Bundle,
    engine: str,
    batch: int,
    events: int,
    *,
    threads: int = 1,
    heap: bool = False,
    seconds: int = PROBE_TIMEOUT_S // 2,
) -> MemoryRow:
    """Track the memory of a fresh process that runs events in batches, for `seconds` at most; with `heap`, also the heap in a second one."""
    memory = _probe("memory", bundle.path, engine, threads, batch, events, 0, seconds)
    if heap:
        traced = _probe("memory", bundle.path, engine, threads, batch, events, 1, seconds)
        memory["allocated_peak_bytes"] = traced["allocated_peak_bytes"]
    return MemoryRow(bundle=bundle.name, engine=engine, batch=batch, **memory)


def measure_load(bundle: Bundle, engine: str, *, threads: int = 1, processes: int = 5) -> LoadRow:
    """Return the median times of import, open, first and second call over fresh processes."""
    times = [_probe("load", bundle.path, engine, threads) for _ in range(processes)]
    medians = {key: float(np.median([entry[key] for entry in times])) for key in times[0]}
    return LoadRow(bundle=bundle.name, engine=engine, processes=processes, **medians)


def _probe(what: str, path: Path, *arguments: object) -> dict:  # type: ignore[type-arg] # JSON
    command: Sequence[str] = [
        sys.executable,
        "-m",
        "tamis.measure.speed.probe",
        what,
        str(path),
        *map(str, arguments),
    ]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=PROBE_TIMEOUT_S,
            env=os.environ | ONE_THREAD,
        )
    except subprocess.TimeoutExpired as error:
        raise TamisError(
            f"the {what} probe of {path} took longer than {PROBE_TIMEOUT_S} s and was stopped"
        ) from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise TamisError(f"the {what} probe of {path} failed: {last}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))
