"""What became of each request, a line of JSON each: its id, the model, how long it waited and was computed, or why not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, TextIO

from tamis._base import UsageError, utc_timestamp

FLUSH_S = 0.5


class RequestLog:
    """Lines of a file, in the thread of the event loop; they reach the file within half a second."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        """Append to a file, or raise UsageError."""
        try:
            self._file: TextIO = path.open("a", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"the log {path} cannot be written: {error.strerror}") from error
        self._loop, self._due = loop, False

    def write(self, **facts: Any) -> None:
        """Write a line."""
        self._file.write(json.dumps({"time": utc_timestamp(), **facts}, ensure_ascii=False) + "\n")
        if not self._due:
            self._due = True
            self._loop.call_later(FLUSH_S, self.flush)

    def answered(
        self, request_id: str, model: str, version: str, rows: int, waited_ns: int, computed_ns: int
    ) -> None:
        """Tell of a request that has its answer."""
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
        """Tell of a request that has none."""
        self.write(event="refused", id=request_id, model=model[:200], why=why[:500])

    def flush(self) -> None:
        """Let lines reach the file."""
        self._due = False
        if not self._file.closed:
            self._file.flush()

    def close(self) -> None:
        """Write what is left."""
        self._file.close()
