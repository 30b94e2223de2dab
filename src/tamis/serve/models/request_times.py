"""The times of single requests of a model, kept until a monitor's stream takes them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_REQUEST_FIELDS = 3


class TakenRequests(NamedTuple):
    """The requests of a model between two looks."""

    elapsed_ns: np.ndarray  # of each answered request: from arrival to answer
    queue_ns: np.ndarray  # of that, what was not input, model or output
    compute_ns: np.ndarray  # of that, in the model
    failed: int
    rows: int  # of all answered requests


class RequestTimes:
    """The requests of a model since the last look, all its versions together; used in the event loop's thread."""

    __slots__ = ("_rows", "_times", "failed")

    def __init__(self) -> None:
        """Start without requests."""
        self._times, self._rows, self.failed = array("q"), 0, 0

    def add(self, elapsed_ns: Sequence[int], rows: int, input_ns: int, infer_ns: int, output_ns: int) -> None:
        """Add the requests of one execution."""
        around_ns = input_ns + infer_ns + output_ns
        for one in elapsed_ns:
            self._times.extend((one, max(0, one - around_ns), infer_ns))
        self._rows += rows

    def take(self) -> TakenRequests:
        """Return the requests since the last call."""
        times = np.frombuffer(self._times, np.int64).reshape(-1, _REQUEST_FIELDS)
        taken = TakenRequests(times[:, 0], times[:, 1], times[:, 2], self.failed, self._rows)
        self._times, self._rows, self.failed = array("q"), 0, 0
        return taken
