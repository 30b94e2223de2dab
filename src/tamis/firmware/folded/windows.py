"""Rows that slide over an event by the same bits: a shift register of the event, with fixed taps, feeds them without multiplexers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tamis.firmware.folded.wires import BitPlace, ElementSource, Wires


@dataclass
class Window:
    """The bits of an event that rows read, and by how many bits they move between the turns.

    In the turns of `padding`, a slot holds a constant instead of what is at its place.
    """

    low: int = 0  # negative where padding precedes the event
    high: int = 0
    shifts: list[int] = field(default_factory=list)
    taps: dict[int, BitPlace] = field(
        default_factory=dict
    )  # of the slots in the first turn, counted from `low`
    padding: dict[int, tuple[int, ...]] = field(default_factory=dict)
    constants: dict[int, float] = field(default_factory=dict)
    exponents: dict[int, int] = field(default_factory=dict)  # powers of two of the slots

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
    window, moved = Window(), [0]
    for turn, row in enumerate(rows):
        places = {
            slot: wires.places[source.element] for slot, source in enumerate(row) if source.element >= 0
        }
        steps = {place[0] - window.taps[slot][0] for slot, place in places.items() if slot in window.taps}
        if turn and (len(steps) != 1 or min(steps) <= moved[-1]):
            return None
        moved += steps
        for slot, source in enumerate(row):
            if slot not in places:
                if window.constants.setdefault(slot, source.constant) != source.constant:
                    return None
                window.padding[slot] = (*window.padding.get(slot, ()), turn)
                continue
            first, width, fraction, signed = places[slot]
            tap = (first - moved[-1], width, fraction, signed)
            if (
                window.taps.setdefault(slot, tap) != tap
                or window.exponents.setdefault(slot, source.exponent) != source.exponent
            ):
                return None
            window.high = max(window.high, first + width)
    if len(rows) < 2 or not window.taps:
        return None
    window.shifts = np.diff(moved).tolist()
    window.low = min(tap[0] for tap in window.taps.values())
    window.taps = {slot: (tap[0] - window.low, *tap[1:]) for slot, tap in window.taps.items()}
    window.padding = {slot: turns for slot, turns in window.padding.items() if slot in window.taps}
    return window


def sliding_order(rows: Sequence[tuple[ElementSource, ...]], wires: Wires) -> list[int]:
    """Return the order of rows by where their elements are in the event."""

    def ends(row: tuple[ElementSource, ...]) -> tuple[int, int]:
        places = [wires.places[source.element][0] for source in row if source.element >= 0]
        return max(places, default=0), min(places, default=0)

    return sorted(range(len(rows)), key=lambda index: (*ends(rows[index]), index))
