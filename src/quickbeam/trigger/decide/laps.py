"""Times of operations, as they fall: collected as plain numbers, summed up when a unit of work is done."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np


class Laps:
    """For each label the nanoseconds per event, and how many events each number stands for."""

    __slots__ = ("counts", "pulse", "total_ns", "values")

    def __init__(self, pulse: Any = None) -> None:
        """Begin with nothing; `pulse.value` is counted up with every time, as a sign of life."""
        self.pulse = pulse
        self.values: dict[str, array[float]] = {}
        self.counts: dict[str, array[int]] = {}
        self.total_ns: dict[str, int] = {}

    def add(self, label: str, elapsed_ns: int, events: int) -> None:
        """Book a time that some events took together."""
        if self.pulse is not None:
            self.pulse.value += 1
        values = self.values.get(label)
        if values is None:
            values = self.values[label] = array("d")
            self.counts[label] = array("q")
            self.total_ns[label] = 0
        self.total_ns[label] += elapsed_ns
        if events:
            values.append(elapsed_ns / events)
            self.counts[label].append(events)

    def add_each(self, label: str, elapsed_ns: Sequence[int]) -> None:
        """Book times that single events took."""
        if not len(elapsed_ns):
            return
        if label not in self.values:
            self.values[label], self.counts[label], self.total_ns[label] = array("d"), array("q"), 0
        self.total_ns[label] += sum(elapsed_ns)
        self.values[label].extend(elapsed_ns)
        self.counts[label].extend([1] * len(elapsed_ns))

    def of(self, label: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of one label, and how many events each stands for."""
        return np.asarray(self.values[label]), np.asarray(self.counts[label])
