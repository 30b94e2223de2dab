"""What a model has done so far, counted as Triton counts it."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence

LATENCY_EDGES_NS = (  # 10 us to 10 s
    *(int(edge * scale) for scale in (1e4, 1e5, 1e6, 1e7, 1e8, 1e9) for edge in (1, 2.5, 5)),
    10_000_000_000,
)


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

    def fail(self, elapsed_ns: int) -> None:
        """Count a request that was not answered."""
        self.failure.add(elapsed_ns)

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
        waited = total - requests * (input_ns + infer_ns + output_ns)
        parts = ((self.success, total), (self.queue, max(0, waited)), (self.input, input_ns * requests))
        for duration, spent in (
            *parts,
            (self.infer, infer_ns * requests),
            (self.output, output_ns * requests),
        ):
            duration.count += requests
            duration.total_ns += spent
        self.inferences += rows
        self.executions += 1
        self.last_ms = time.time_ns() // 1_000_000
        batch = self.batches.get(rows)
        if batch is None:
            batch = self.batches[rows] = (Duration(), Duration(), Duration())
        for duration, spent in zip(batch, (input_ns, infer_ns, output_ns), strict=True):
            duration.count += 1
            duration.total_ns += spent
