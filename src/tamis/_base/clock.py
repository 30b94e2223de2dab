"""The clock: nanoseconds that never run backwards."""

from __future__ import annotations

from datetime import UTC, datetime
from time import perf_counter_ns

now_ns = perf_counter_ns


def utc_timestamp() -> str:
    """Return the wall-clock time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0).isoformat()


def file_stamp(created: str) -> str:
    """Return such a time as the names of files have it: 20261121T163229."""
    return created[:19].replace("-", "").replace(":", "")
