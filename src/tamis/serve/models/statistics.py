"""Counters of what a model has done, as Triton defines them."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from tamis.serve.models.request_times import RequestTimes

LATENCY_EDGES_NS = (  # 10 us to 10 s
    *(int(edge * scale) for scale in (1e4, 1e5, 1e6, 1e7, 1e8, 1e9) for edge in (1, 2.5, 5)),
    10_000_000_000,
)
MAX_BUFFERED = 4096  # buffered executions of single requests
_SINGLE_FIELDS = 5


class Duration:
    """Number of occurrences and their total time."""

    __slots__ = ("count", "total_ns")

    def __init__(self) -> None:
        """Start at zero."""
        self.count = self.total_ns = 0

    def add(self, elapsed_ns: int, count: int = 1) -> None:
        """Add occurrences and their total time."""
        self.count += count
        self.total_ns += elapsed_ns


class LatencyHistogram:
    """Number of occurrences between the edges of `LATENCY_EDGES_NS`, the last bin open, and their total time."""

    __slots__ = ("counts", "total_ns")

    def __init__(self) -> None:
        """Start at zero."""
        self.counts = [0] * (len(LATENCY_EDGES_NS) + 1)
        self.total_ns = 0

    def add(self, elapsed_ns: int) -> None:
        """Count one occurrence."""
        self.counts[bisect_left(LATENCY_EDGES_NS, elapsed_ns)] += 1
        self.total_ns += elapsed_ns


class Statistics:
    """The counters of one version of a model."""

    def __init__(self, times: RequestTimes | None = None) -> None:
        """Start at zero; `times` gets the times of every request as well."""
        self._times = times
        self.success, self.failure, self.queue = Duration(), Duration(), Duration()
        self.input, self.infer, self.output = Duration(), Duration(), Duration()
        self.latency = LatencyHistogram()  # of answered requests
        self.inferences = self.executions = self.last_ms = 0
        self.batches: dict[
            int, tuple[Duration, Duration, Duration]
        ] = {}  # input, infer, output by batch size
        self._singles = array("q")

    def fail(self, elapsed_ns: int) -> None:
        """Count a request that was not answered."""
        self.failure.add(elapsed_ns)
        if self._times is not None:
            self._times.failed += 1

    def add_single(self, elapsed_ns: int, rows: int, input_ns: int, infer_ns: int, output_ns: int) -> None:
        """Count the execution of a single request: buffered, which takes a tenth of the time of `add_batch`."""
        if self._times is not None:
            self._times.add((elapsed_ns,), rows, input_ns, infer_ns, output_ns)
        self._singles.extend((elapsed_ns, rows, input_ns, infer_ns, output_ns))
        if len(self._singles) >= MAX_BUFFERED * _SINGLE_FIELDS:
            self.flush()

    def flush(self) -> Statistics:
        """Count the buffered executions; return this object."""
        if not self._singles:
            return self
        singles, self._singles = (
            np.array(self._singles, np.int64).reshape(-1, _SINGLE_FIELDS),
            array("q"),
        )
        bins = np.searchsorted(LATENCY_EDGES_NS, singles[:, 0])
        counts = np.bincount(bins, minlength=len(self.latency.counts))
        self.latency.counts = [old + int(new) for old, new in zip(self.latency.counts, counts, strict=True)]
        total_ns, rows, *parts_ns = (int(one) for one in singles.sum(0))
        self.latency.total_ns += total_ns
        self._add_requests(len(singles), total_ns, parts_ns)
        self.inferences += rows
        self.executions += len(singles)
        for size in np.unique(singles[:, 1]).tolist():
            alike = singles[singles[:, 1] == size]
            self._add_batches(size, len(alike), [int(one) for one in alike[:, 2:].sum(0)])
        self.last_ms = time.time_ns() // 1_000_000
        return self

    def add_batch(
        self, elapsed_ns: Sequence[int], rows: int, input_ns: int, infer_ns: int, output_ns: int
    ) -> None:
        """Count one execution; `elapsed_ns` has the time from arrival to answer of each of its requests."""
        if self._times is not None:
            self._times.add(elapsed_ns, rows, input_ns, infer_ns, output_ns)
        requests, total_ns = len(elapsed_ns), sum(elapsed_ns)
        for one in elapsed_ns:
            self.latency.add(one)
        parts_ns = (input_ns, infer_ns, output_ns)
        self._add_requests(requests, total_ns, [requests * one for one in parts_ns])
        self.inferences += rows
        self.executions += 1
        self._add_batches(rows, 1, parts_ns)
        self.last_ms = time.time_ns() // 1_000_000

    def _add_requests(self, requests: int, total_ns: int, parts_ns: Sequence[int]) -> None:
        """Add answered requests; the time that was not input, model or output was spent in the queue."""
        queue_ns = max(0, total_ns - sum(parts_ns))
        for duration, spent_ns in zip(
            (self.success, self.queue, self.input, self.infer, self.output),
            (total_ns, queue_ns, *parts_ns),
            strict=True,
        ):
            duration.count += requests
            duration.total_ns += spent_ns

    def _add_batches(self, rows: int, count: int, parts_ns: Sequence[int]) -> None:
        batch = self.batches.get(rows)
        if batch is None:
            batch = self.batches[rows] = (Duration(), Duration(), Duration())
        for duration, spent_ns in zip(batch, parts_ns, strict=True):
            duration.add(spent_ns, count)
