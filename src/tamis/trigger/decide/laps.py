"""Times of operations, collected as plain numbers and summed up at the end of a unit of work."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np


class Laps:
    """For each label, times in nanoseconds per event, and the number of events that each time covers."""

    __slots__ = ("counts", "pulse", "total_ns", "values")

    def __init__(self, pulse: Any = None) -> None:
        """Start empty; `pulse.value` is incremented with every time, as a heartbeat."""
        self.pulse = pulse
        self.values: dict[str, array[float]] = {}
        self.counts: dict[str, array[int]] = {}
        self.total_ns: dict[str, int] = {}

    def add(self, label: str, elapsed_ns: int, events: int) -> None:
        """Record a time that some events took together."""
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

    def add_each(self, label: str, elapsed_ns: np.ndarray) -> None:
        """Record times of single events."""
        if not len(elapsed_ns):
            return
        if label not in self.values:
            self.values[label], self.counts[label], self.total_ns[label] = array("d"), array("q"), 0
        self.total_ns[label] += int(elapsed_ns.sum())
        self.values[label].frombytes(elapsed_ns.astype(np.float64).tobytes())
        self.counts[label].frombytes(np.ones(len(elapsed_ns), np.int64).tobytes())

    def of(self, label: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the times per event of one label, and the number of events that each covers."""
        return np.asarray(self.values[label]), np.asarray(self.counts[label])
