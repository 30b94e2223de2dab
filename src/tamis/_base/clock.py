"""Clocks: monotonic nanoseconds for durations, UTC for timestamps."""

from __future__ import annotations

from datetime import UTC, datetime
from time import perf_counter_ns

now_ns = perf_counter_ns


def utc_timestamp() -> str:
    """Return the current time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0).isoformat()


def file_stamp(created: str) -> str:
    """Return an ISO 8601 time in the form used in file names: 20261121T163229."""
    return created[:19].replace("-", "").replace(":", "")
