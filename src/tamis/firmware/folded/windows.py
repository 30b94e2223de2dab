"""Rows that slide over an event by the same bits: a shift register of the event, with fixed taps, feeds them without multiplexers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tamis.firmware.folded.wires import ElementSource, Wires


class Window(NamedTuple):
    """The bits of an event that rows read, and by how many bits they move between the turns."""

    low: int
    high: int
    shifts: tuple[int, ...]

    @property
    def width(self) -> int:
        """The bits of the shift register."""
        return self.high - self.low

    @property
    def kinds(self) -> list[int]:
        """The different shifts, the most frequent one first."""
        return sorted(set(self.shifts), key=lambda shift: (-self.shifts.count(shift), shift))


def find_window(rows: Sequence[tuple[ElementSource, ...]], wires: Wires) -> Window | None:
    """Return the window of rows in the order of their turns; None if they do not slide over the event."""
    if len(rows) < 2 or not rows[0]:
        return None
    first, last, shifts = _taps(rows[0], wires), _taps(rows[0], wires), []
    if first is None or last is None:
        return None
    for row in rows[1:]:
        taps = _taps(row, wires)
        if taps is None or taps.keys() != first.keys():
            return None
        moved = {taps[slot][0] - last[slot][0] for slot in taps}
        if len(moved) != 1 or min(moved) <= 0 or any(taps[slot][1:] != first[slot][1:] for slot in taps):
            return None
        shifts.append(moved.pop())
        last = taps
    low = min(tap[0] for tap in first.values())
    high = max(tap[0] + tap[1] for tap in last.values())
    return Window(low, high, tuple(shifts))


def _taps(row: tuple[ElementSource, ...], wires: Wires) -> dict[int, tuple[int, ...]] | None:
    """Return the lowest bit and the format of each slot; constants have none, as long as every row has them."""
    return {
        slot: (*wires.places[source.element], source.exponent)
        for slot, source in enumerate(row)
        if source.element >= 0
    } or None


def sliding_order(rows: Sequence[tuple[ElementSource, ...]], wires: Wires) -> list[int]:
    """Return the order of rows by where their elements are in the event."""
    keys = [
        [wires.places[source.element][0] if source.element >= 0 else -1 for source in row] for row in rows
    ]
    return sorted(range(len(rows)), key=lambda index: (np.sort(keys[index]).tolist(), index))
