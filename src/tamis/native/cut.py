"""How a batch is split: which kernel computes the next events, by how many remain and what each kernel costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEFT = 64  # entries of the table: from this number of remaining events on the choice is the same
ROW_BITS = 32  # of the number of events that code is called with, below the row of their sizes
HEADER = LEFT // 4  # floats that the table takes at the beginning of the constants


@dataclass(frozen=True)
class Way:
    """A generated kernel: the number of events that it computes per call, and whether it also takes fewer (wide mode)."""

    name: str
    events: int
    wide: bool


def cut(ways: Sequence[Way], cost: Sequence[float]) -> np.ndarray:
    """Return the number of the next kernel for each number of remaining events, so that the total cost is lowest."""
    least = [0.0]
    table = np.zeros(LEFT, np.uint8)
    for remaining in range(1, LEFT):
        best, choice = float("inf"), 0
        for number, (way, price) in enumerate(zip(ways, cost, strict=True)):
            if way.events > remaining and not way.wide:
                continue
            total = price + least[max(0, remaining - way.events)]
            if total < best:
                best, choice = total, number
        least.append(best)
        table[remaining] = choice
    table[0] = min(range(len(ways)), key=lambda number: cost[number] / ways[number].events)
    return table


def header(table: np.ndarray) -> np.ndarray:
    """Return a table as the floats that it is stored as; entry 0 is for 64 events and more."""
    return table.view(np.float32)
