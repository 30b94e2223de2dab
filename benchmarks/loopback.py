"""Compare servers on loopback: each in a process of its own, timed in alternating order.

Used by `http_front.py` and `grpc_framing.py`.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tamis._base import file_stamp, host_facts, utc_timestamp

OURS = "tamis"
START_S = 30.0


@dataclass(frozen=True)
class Contender:
    """A running server, or a client in this process."""

    name: str
    port: int
    pid: int

    def cpu_s(self) -> float:
        """Return the CPU time of all its threads, with a resolution of nanoseconds."""
        if self.pid == os.getpid():
            return time.process_time()
        used_ns = 0
        for task in os.scandir(f"/proc/{self.pid}/task"):
            with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
                used_ns += int(Path(task.path, "schedstat").read_text().split()[0])
        return used_ns / 1e9


@dataclass(frozen=True)
class Case:
    """Requests of one size over a number of connections."""

    label: str
    connections: int
    request: Any


@contextmanager
def running(servers: dict[str, Callable[[Connection], None]]) -> Iterator[list[Contender]]:
    """Start servers; each function serves forever and sends its port through the connection."""
    context = multiprocessing.get_context("spawn")
    processes, contenders = [], []
    try:
        for name, serve in servers.items():
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs,), daemon=True)
            process.start()
            processes.append(process)
            if not ours.poll(START_S):
                raise SystemExit(f"the server {name} did not start within {START_S:g} s")
            contenders.append(Contender(name, ours.recv(), process.pid or 0))
        yield contenders
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def compare(
    contenders: Sequence[Contender],
    cases: Sequence[Case],
    drive: Callable[[Contender, Case, float], int],
    rounds: int,
    seconds: float,
) -> list[dict[str, Any]]:
    """Time every case on every server, `seconds` each, in `rounds` rounds of rotating order; return a row per case and server.

    `drive` sends requests for that time and returns how many were answered. `relative` is the ratio of rates to ours in the
    same round: its median, lowest and highest value over the rounds.
    """
    rates: dict[tuple[str, int, str], list[float]] = {}
    costs: dict[tuple[str, int, str], list[float]] = {}
    for number in range(rounds):
        shift = number % len(contenders)
        for case in cases:
            for contender in [*contenders[shift:], *contenders[:shift]]:
                before, begin = contender.cpu_s(), time.perf_counter()
                answered = drive(contender, case, seconds)
                elapsed, cpu_s = time.perf_counter() - begin, contender.cpu_s() - before
                key = case.label, case.connections, contender.name
                rates.setdefault(key, []).append(answered / elapsed)
                costs.setdefault(key, []).append(1e6 * cpu_s / answered)
    rows = []
    for case in cases:
        for contender in contenders:
            key = case.label, case.connections, contender.name
            ours = rates[case.label, case.connections, OURS]
            relative = sorted(rate / our for rate, our in zip(rates[key], ours, strict=True))
            rows.append(
                {
                    "size": case.label,
                    "connections": case.connections,
                    "server": contender.name,
                    "requests_per_s": round(statistics.median(rates[key]), 1),
                    "cpu_us": round(statistics.median(costs[key]), 1),
                    "relative": [
                        round(value, 3) for value in (statistics.median(relative), relative[0], relative[-1])
                    ],
                }
            )
    return rows


def overall(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the geometric mean over all cases of the median relative rate, by server."""
    relative: dict[str, list[float]] = {}
    for row in rows:
        relative.setdefault(row["server"], []).append(row["relative"][0])
    return {name: round(statistics.geometric_mean(values), 3) for name, values in relative.items()}


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table."""
    print(
        f"{'size':>8} {'connections':>11} {'server':<16} {'requests/s':>10} {'CPU us':>8}  relative [range]"
    )
    for row in rows:
        median, lowest, highest = row["relative"]
        print(
            f"{row['size']:>8} {row['connections']:>11} {row['server']:<16} {row['requests_per_s']:>10.0f} "
            f"{row['cpu_us']:>8.1f}  {median:.2f} [{lowest:.2f}, {highest:.2f}]"
        )
    for name, value in overall(rows).items():
        if name != OURS:
            print(f"{name}: {value:.2f} of our rate (geometric mean over all cases)")


def keep(
    kind: str, options: dict[str, Any], rows: Sequence[dict[str, Any]], libraries: Sequence[str]
) -> Path:
    """Write a record into `benchmarks/records`."""
    versions = {}
    for name in libraries:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "unknown"
    record = {
        "kind": kind,
        "created": utc_timestamp(),
        "host": host_facts().model_dump(),
        "libraries": versions,
        "options": options,
        "rows": list(rows),
        "overall": overall(rows),
    }
    path = Path(__file__).parent / "records" / f"{kind}-{file_stamp(record['created'])}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path
