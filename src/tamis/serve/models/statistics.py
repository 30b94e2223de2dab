"""What a model has done so far, counted as Triton counts it."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

LATENCY_EDGES_NS = (  # 10 us to 10 s
    *(int(edge * scale) for scale in (1e4, 1e5, 1e6, 1e7, 1e8, 1e9) for edge in (1, 2.5, 5)),
    10_000_000_000,
)


LONE_MOST = 4096  # requests done by themselves that are noted before they are counted
_LONE = 5  # numbers that are noted of each


class Duration:
    """How often, and how long in all."""

    __slots__ = ("count", "total_ns")

    def __init__(self) -> None:
        """Begin at nothing."""
        self.count = self.total_ns = 0

    def add(self, elapsed_ns: int, count: int = 1) -> None:
        """Count more."""
        self.count += count
        self.total_ns += elapsed_ns


class Histogram:
    """How often something took how long: up to each edge, and longer."""

    __slots__ = ("counts", "total_ns")

    def __init__(self) -> None:
        """Begin at nothing."""
        self.counts = [0] * (len(LATENCY_EDGES_NS) + 1)
        self.total_ns = 0

    def add(self, elapsed_ns: int) -> None:
        """Count one more."""
        self.counts[bisect_left(LATENCY_EDGES_NS, elapsed_ns)] += 1
        self.total_ns += elapsed_ns


class Statistics:
    """The counters of one version of a model."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self.success, self.failure, self.queue = Duration(), Duration(), Duration()
        self.input, self.infer, self.output = Duration(), Duration(), Duration()
        self.latency = Histogram()  # of requests that were answered
        self.inferences = self.executions = self.last_ms = 0
        self.batches: dict[int, tuple[Duration, Duration, Duration]] = {}
        self._lone = array("q")

    def fail(self, elapsed_ns: int) -> None:
        """Count a request that was not answered."""
        self.failure.add(elapsed_ns)

    def lone(self, elapsed_ns: int, rows: int, input_ns: int, infer_ns: int, output_ns: int) -> None:
        """Note an execution of one request by itself; it is counted with others later, for a tenth of the time."""
        self._lone.extend((elapsed_ns, rows, input_ns, infer_ns, output_ns))
        if len(self._lone) >= LONE_MOST * _LONE:
            self.counted()

    def counted(self) -> Statistics:
        """Count what was only noted so far; return all."""
        if not self._lone:
            return self
        noted, self._lone = np.array(self._lone, np.int64).reshape(-1, _LONE), array("q")
        requests = len(noted)
        counts = np.bincount(
            np.searchsorted(LATENCY_EDGES_NS, noted[:, 0]), minlength=len(self.latency.counts)
        )
        self.latency.counts = [old + int(new) for old, new in zip(self.latency.counts, counts, strict=True)]
        total, rows, *parts = (int(one) for one in noted.sum(0))
        self.latency.total_ns += total
        self._spent(requests, total, parts)
        self.inferences += rows
        self.executions += requests
        for size in np.unique(noted[:, 1]).tolist():
            alike = noted[noted[:, 1] == size]
            self._batch(size, len(alike), [int(one) for one in alike[:, 2:].sum(0)])
        self.last_ms = time.time_ns() // 1_000_000
        return self

    def execution(
        self, elapsed_ns: Sequence[int], rows: int, times: tuple[int, int, int], output_ns: int
    ) -> None:
        """Count one execution: how long each of its requests took, and its own parts."""
        _, input_ns, infer_ns = times
        requests, total = len(elapsed_ns), sum(elapsed_ns)
        counts = self.latency.counts
        for one in elapsed_ns:
            counts[bisect_left(LATENCY_EDGES_NS, one)] += 1
        self.latency.total_ns += total
        parts = (input_ns, infer_ns, output_ns)
        self._spent(requests, total, [requests * one for one in parts])
        self.inferences += rows
        self.executions += 1
        self._batch(rows, 1, parts)
        self.last_ms = time.time_ns() // 1_000_000

    def _spent(self, requests: int, total_ns: int, parts_ns: Sequence[int]) -> None:
        """Add what requests took in all, and what of it was input, model and output; the rest is the queue."""
        queue_ns = max(0, total_ns - sum(parts_ns))
        for duration, spent in zip(
            (self.success, self.queue, self.input, self.infer, self.output),
            (total_ns, queue_ns, *parts_ns),
            strict=True,
        ):
            duration.count += requests
            duration.total_ns += spent

    def _batch(self, rows: int, count: int, parts_ns: Sequence[int]) -> None:
        batch = self.batches.get(rows)
        if batch is None:
            batch = self.batches[rows] = (Duration(), Duration(), Duration())
        for duration, spent in zip(batch, parts_ns, strict=True):
            duration.add(spent, count)
