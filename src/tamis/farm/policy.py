"""Dynamic batching, decided as the server's scheduler decides it: which of those that wait are done together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf


@dataclass(frozen=True)
class Policy:
    """How requests are done together."""

    rows_most: int = 1  # of one batch
    delay_s: float | None = None  # how long the first may wait for others; None: every request by itself
    preferred: tuple[int, ...] = ()

    def together(self, rows: Sequence[int], since_s: Sequence[float], now_s: float) -> tuple[int, float]:
        """Return how many of those that wait are done now, and, where there are none, until when the first may wait."""
        if self.delay_s is None:
            return 1, inf
        until = since_s[0] + self.delay_s
        taken = total = liked = 0
        for one in rows:
            if taken and total + one > self.rows_most:
                break
            taken, total = taken + 1, total + one
            if total in self.preferred:
                liked = taken
        if now_s >= until:
            return taken, inf
        if liked:
            return liked, inf
        if taken < len(rows) or total >= (self.preferred[-1] if self.preferred else self.rows_most):
            return taken, inf
        return 0, until
