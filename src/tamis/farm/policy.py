"""Dynamic batching in the simulation: the settings, decided by the server's own rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from tamis.serve.batching import choose_batch


@dataclass(frozen=True)
class Policy:
    """How a simulated server groups requests into batches."""

    rows_most: int = 1  # of one batch
    delay_s: float | None = None  # how long the first request may wait for others; None: no batching
    preferred: tuple[int, ...] = ()

    def choose(self, rows: Sequence[int], queued_s: Sequence[float], now_s: float) -> tuple[int, float]:
        """Return how many queued requests run now, and, if none, until when to wait."""
        if self.delay_s is None:
            return 1, inf
        candidates = ((one, since + self.delay_s) for one, since in zip(rows, queued_s, strict=True))
        return choose_batch(candidates, len(rows), now_s, max_rows=self.rows_most, preferred=self.preferred)
