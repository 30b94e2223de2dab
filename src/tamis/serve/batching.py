"""Dynamic batching: which queued requests of a model run together, and how long the first may wait for others.

Pure decisions, without a clock, a queue or a thread, so that the server's scheduler and a simulation of it can share them.
The settings are those of `ModelDynamicBatching` and `ModelQueuePolicy` in Triton's `config.pbtxt`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

# Bytes of inputs that are worth concatenating: beyond the caches, copying costs more than separate calls.
COPIED_MOST = 1 << 20
MAX_SEQUENCES = 1024  # of one model, where nothing else is set
SEQUENCE_IDLE_US = 3_600_000_000  # one hour: a monitor waits for beam; Triton's default is a second


@dataclass(frozen=True)
class QueuePolicy:
    """How requests of one priority wait."""

    max_requests: int = 0  # 0: the server's limit
    timeout_ns: int = 0  # 0: no limit
    allow_override: bool = False  # a request may bring a shorter timeout
    delay_expired: bool = False  # requests that time out run after the others instead of being rejected

    def timeout_of(self, requested_ns: int) -> int:
        """Return how long a request may wait, in ns; `requested_ns` is the timeout that it brings. 0 means no limit."""
        if requested_ns > 0 and (self.allow_override or not self.timeout_ns):
            return min(self.timeout_ns or requested_ns, requested_ns)
        return self.timeout_ns


@dataclass(frozen=True)
class Batching:
    """How requests are grouped into batches."""

    preferred: tuple[int, ...] = ()  # rows, ascending: a batch of one of these sizes does not wait for more
    delay_ns: int = 0  # how long the first request may wait for others
    priorities: tuple[QueuePolicy, ...] = (QueuePolicy(),)  # the most urgent first
    default_priority: int = 0  # index into `priorities`
    preserve_order: bool = False  # answer in the order of arrival
    max_merged_rows: int = 0  # beyond which larger batches gain nothing; 0: the model's limit

    def priority_of(self, requested: int) -> int:
        """Return the index of a requested priority, which counts from 1; any other number means the default."""
        return requested - 1 if 1 <= requested <= len(self.priorities) else self.default_priority


@dataclass(frozen=True)
class SequencePolicy:
    """How the states of sequences are kept between requests, as `ModelSequenceBatching` in Triton's `config.pbtxt` says."""

    states: Mapping[str, str]  # the output that follows each input that is a state
    max_sequences: int = MAX_SEQUENCES
    idle_us: int = SEQUENCE_IDLE_US  # a sequence without a request for this long is dropped


def wait_limit(queued: float, delay: float, expires: float | None = None) -> float:
    """Return until when a request may wait for others: for the delay, but at most half of its time before it expires."""
    limit = queued + delay
    return limit if expires is None else min(limit, queued + (expires - queued) / 2)


def choose_batch(
    candidates: Iterable[tuple[int, float]],
    queued: int,
    now: float,
    *,
    max_rows: int,
    preferred: Sequence[int] = (),
) -> tuple[int, float]:
    """Return how many requests at the front of a queue run now; 0 means wait, until the returned time at most.

    Args:
        candidates: rows and wait limit of each request that can run with the first one, in order; read as far as needed.
        queued: number of requests in the queue. More than candidates: nothing that arrives can join, so waiting is useless.
        now: the current time, in the unit of the wait limits.
        max_rows: rows of a batch; a single request may have more.
        preferred: numbers of rows, ascending, that run without waiting; the largest complete one is taken.
    """
    count = rows = preferred_count = 0
    until = float("inf")
    for more, limit in candidates:
        if count and rows + more > max_rows:
            break
        count, rows = count + 1, rows + more
        if limit < until:
            until = limit
        if rows in preferred:
            preferred_count = count
    if now >= until:
        return count, until
    if preferred_count:
        return preferred_count, until
    if count < queued or rows >= (preferred[-1] if preferred else max_rows):
        return count, until
    return 0, until


def rows_worth_copying(rows: int, nbytes: int) -> int:
    """Return up to how many rows are worth concatenating, for requests of `rows` rows and `nbytes` bytes each."""
    return max(rows, COPIED_MOST * rows // max(nbytes, 1))
