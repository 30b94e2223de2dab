"""The record of `bench`: latency, memory and loading times of engines on one host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from tamis._base import Document, Host
from tamis.records.agreement import Agreement


class Spread(Document):
    """The distribution of the times of single calls, in nanoseconds."""

    calls: int
    mean_ns: float
    p50_ns: float
    p95_ns: float
    p99_ns: float

    @classmethod
    def of(cls, wall_ns: Sequence[int]) -> Spread:
        """Summarise the wall-clock times of single calls."""
        wall = np.asarray(wall_ns, np.float64)
        p50, p95, p99 = np.percentile(wall, [50, 95, 99])
        return cls(
            calls=len(wall),
            mean_ns=float(wall.mean()),
            p50_ns=float(p50),
            p95_ns=float(p95),
            p99_ns=float(p99),
        )


class Ratio(Document):
    """Time over that of the baseline, round by round: the median of the ratios and their quartiles."""

    baseline: str
    median: float
    low: float
    high: float
    rounds: int


class LatencyRow(Document):
    """One model on one engine at one batch size."""

    bundle: str
    engine: str
    version: str
    mode: Literal["call", "bound", "plain"] = Field(
        description="call: session(arrays); bound: buffers bound once before the calls; plain: the engine alone on the whole batch, as in a loop over its library"
    )
    batch: int
    chunk: int = Field(description="events per call of the engine")
    warm: Spread
    cpu_p50_ns: float
    cold: Spread | None = None
    ratio: Ratio | None = None
    floor_ns: float | None = None
    events_per_second: float


class Roofline(Document):
    """The peak performance of one core of the host, measured through numpy's BLAS."""

    flops_per_second: float
    bytes_per_second: dict[str, float] = Field(description="read bandwidth by the size of the array in bytes")


class MemoryRow(Document):
    """Memory of a separate process; the heap is from a second process, since tracking it costs memory itself."""

    bundle: str
    engine: str
    batch: int
    events: int
    rss_before_bytes: int
    rss_open_bytes: int
    rss_after_bytes: int
    rss_peak_bytes: int
    allocated_peak_bytes: int | None = Field(default=None, description="high-water mark of the heap (memray)")
    curve: tuple[tuple[int, int], ...] = Field(default=(), description="(events done, RSS in bytes)")


class LoadRow(Document):
    """Import, open and first calls in fresh processes; medians over the processes."""

    bundle: str
    engine: str
    processes: int
    import_ns: float
    open_ns: float
    first_call_ns: float
    second_call_ns: float


class Record(Document):
    """One run of `bench`."""

    kind: Literal["bench"] = "bench"
    schema_version: Literal[1] = 1
    created: str
    host: Host
    options: dict[str, int | float | str | list[int] | list[str]]
    models: dict[str, str] = Field(description="SHA-256 of every bundle's model")
    agreement: tuple[Agreement, ...] = ()
    refused: tuple[str, ...] = Field(default=(), description="engines and batch sizes not timed, and why")
    roofline: Roofline | None = None
    latency: tuple[LatencyRow, ...] = ()
    memory: tuple[MemoryRow, ...] = ()
    load: tuple[LoadRow, ...] = ()
    harness_ns: float | None = Field(default=None, description="median time of a call of the null engine")
