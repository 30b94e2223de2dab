"""The log of requests: one JSON object per line, with id, model, queue and compute times, or the reason for a rejection."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, TextIO

from tamis._base import UsageError, utc_timestamp

FLUSH_S = 0.5


class RequestLog:
    """A log file, written in the thread of the event loop and flushed within half a second."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        """Open the file to append to it."""
        try:
            self._file: TextIO = path.open("a", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"the log {path} cannot be written: {error.strerror}") from error
        self._loop, self._flush_scheduled = loop, False

    def write(self, **fields: Any) -> None:
        """Write a line."""
        self._file.write(json.dumps({"time": utc_timestamp(), **fields}, ensure_ascii=False) + "\n")
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_later(FLUSH_S, self.flush)

    def answered(
        self, request_id: str, model: str, version: str, rows: int, waited_ns: int, computed_ns: int
    ) -> None:
        """Log a request that was answered."""
        self.write(
            event="answered",
            id=request_id,
            model=model,
            version=version,
            rows=rows,
            waited_us=waited_ns // 1000,
            computed_us=computed_ns // 1000,
        )

    def refused(self, request_id: str, model: str, why: str) -> None:
        """Log a request that was rejected."""
        self.write(event="refused", id=request_id, model=model[:200], why=why[:500])

    def flush(self) -> None:
        """Write buffered lines to the file."""
        self._flush_scheduled = False
        if not self._file.closed:
            self._file.flush()

    def close(self) -> None:
        """Flush and close the file."""
        self._file.close()
