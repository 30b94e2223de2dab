"""The program of the processes that measure memory and loading: `python -m tamis.measure.speed.probe`."""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter_ns

MEMORY_CURVE_POINTS = 40


def _rss() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def load(path: str, engine: str, threads: int) -> dict[str, float]:
    """Import tamis, open a session and call it twice; return the times in nanoseconds."""
    begin = perf_counter_ns()
    import tamis
    from tamis.engines import Session, find_engine, open  # noqa: A004, F401 - the imports of a user
    from tamis.measure.speed.latency import events_of

    find_engine(engine)
    imported = perf_counter_ns()
    session = tamis.open(path, engine, threads=threads)
    opened = perf_counter_ns()
    arrays = events_of(session.bundle, session.signature.fixed_batch or 1)
    ready = perf_counter_ns()
    session.run(*arrays)
    first = perf_counter_ns()
    session.run(*arrays)
    second = perf_counter_ns()
    return {
        "import_ns": imported - begin,
        "open_ns": opened - imported,
        "first_call_ns": first - ready,
        "second_call_ns": second - first,
    }


@contextlib.contextmanager
def _heap(tracked: bool) -> Iterator[list[int]]:
    """Track the heap with memray if requested; on exit the list holds its high-water mark in bytes."""
    peak: list[int] = []
    if not tracked:
        yield peak
        return
    from tamis._base import require

    memray = require("memray", extra="memory", purpose="tracking allocations")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "heap.bin"
        with memray.Tracker(file):
            yield peak
        reader = memray.FileReader(file)
        peak.append(int(reader.metadata.peak_memory))
        reader.close()


def memory(
    path: str, engine: str, threads: int, batch: int, events: int, heap: int, seconds: int
) -> dict[str, object]:
    """Run events in batches until all are done or the time is up; return the resident set size along the way."""
    import tamis
    from tamis.measure.speed.latency import events_of

    before = _rss()
    curve: list[tuple[int, int]] = []
    with _heap(bool(heap)) as peak:
        session = tamis.open(path, engine, threads=threads)
        opened = _rss()
        step = max(1, events // batch // MEMORY_CURVE_POINTS)
        done, end = 0, perf_counter_ns() + seconds * 1_000_000_000
        for index in range(-(-events // batch)):
            size = min(batch, events - done)
            session.run(*[array.copy() for array in events_of(session.bundle, size)])
            done += size
            late = perf_counter_ns() > end
            if index % step == 0 or done == events or late:
                curve.append((done, _rss()))
            if late:
                break
        session.close()
    # The high-water mark since the program started; getrusage would count the parent before exec.
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak_kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    return {
        "events": done,
        "rss_before_bytes": before,
        "rss_open_bytes": opened,
        "rss_after_bytes": _rss(),
        "rss_peak_bytes": 1024 * peak_kib,
        "allocated_peak_bytes": peak[0] if peak else None,
        "curve": curve,
    }


def main(arguments: list[str]) -> None:
    """Run one probe and print one line of JSON."""
    what, path, engine, *numbers = arguments
    probe: Callable[..., object] = load if what == "load" else memory
    sys.stdout.write(json.dumps(probe(path, engine, *map(int, numbers))) + "\n")


if __name__ == "__main__":
    from tamis._base import TamisError

    try:
        main(sys.argv[1:])
    except TamisError as error:
        sys.exit(str(error))
