"""How a batch is cut: which way the next events go, by how many are left and what each way takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEFT = 64  # so many or more left are one case
HEADER = LEFT // 4  # floats at the beginning of the constants that hold the table


@dataclass(frozen=True)
class Way:
    """One way of doing events: how many it takes at a time, and whether fewer are done by it as well."""

    name: str
    events: int
    wide: bool


def cut(ways: Sequence[Way], cost: Sequence[float]) -> np.ndarray:
    """Return for each number of events that are left which way is next, so that all of them cost least."""
    least = [0.0]
    table = np.zeros(LEFT, np.uint8)
    for left in range(1, LEFT):
        best, choice = float("inf"), 0
        for number, (way, price) in enumerate(zip(ways, cost, strict=True)):
            if way.events > left and not way.wide:
                continue
            total = price + least[max(0, left - way.events)]
            if total < best:
                best, choice = total, number
        least.append(best)
        table[left] = choice
    table[0] = min(range(len(ways)), key=lambda number: cost[number] / ways[number].events)
    return table


def header(table: np.ndarray) -> np.ndarray:
    """Return a table as it lies in the constants: entry 0 is for 64 events and more."""
    return table.view(np.float32)
